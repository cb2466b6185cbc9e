"""What the page tells the browser of its components."""

import copy

from app import build_app


def test_the_configuration_is_plain_data():
    """Every visit copies it: anything else there, such as a listener, drags the whole page and its event loop along."""
    for component in build_app().get_config_file()["components"]:
        props = {k: v for k, v in component["props"].items() if component["type"] != "state"}
        found = copy.deepcopy(props)

        def walk(value, path):
            if isinstance(value, dict):
                for key, item in value.items():
                    walk(item, (*path, key))
            elif isinstance(value, list | tuple):
                for i, item in enumerate(value):
                    walk(item, (*path, i))
            else:
                assert value is None or isinstance(value, str | int | float | bool), (*path, type(value))

        walk(found, (component["type"], props.get("elem_id")))
