"""How tests are given to processes: file by file, and none twice after it has ended its process."""

from xdist.scheduler import LoadFileScheduling


class WholeFiles(LoadFileScheduling):
    """As xdist's own, which hands a test that ended its process (by its time limit) to the next one, without end."""

    def remove_node(self, node):
        """The test that ended the process, which counts as done; None if the process had none left."""
        units = self.assigned_work[node].values()
        ended, unit = next(((test, unit) for unit in units for test, done in unit.items() if not done), (None, {}))
        if ended is not None:
            unit[ended] = True
        super().remove_node(node)
        return ended
