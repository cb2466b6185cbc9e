"""The C kernel: how it is built, every path against plain products, and under AddressSanitizer."""

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from random_masks import paths, random_mask

from eggs_core.errors import EggsError
from eggs_core.packed import layout
from eggs_core.packed.kernel import compiler as build
from eggs_core.packed.kernel import library as kernels
from eggs_core.packed.kernel.huge_pages import BLOCK, Arena
from eggs_core.packed.linear import PackedLinear
from eggs_core.pattern import NMPattern

ROOT = Path(__file__).resolve().parents[3]
PATTERNS = ("2:4", "1:4", "3:4", "4:8", "2:8", "1:2", "8:16", "4:16", "16:32", "8:32", "5:7", "1:1", "4:4", "1:32")
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 1e-2, torch.float16: 1e-3}


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("dtype", list(TOLERANCE), ids=str)
def test_every_path_equals_the_dense_product(pattern, dtype):
    torch.manual_seed(0)
    pattern = NMPattern.parse(pattern)
    cases = (1, 1, 1, False), (3, 5, 3, True), (9, 18, 8, False), (40, 7, 11, True), (9, 20, 40, True)
    for groups, out, tokens, permuted in cases:
        columns = groups * pattern.group
        permutation = torch.randperm(columns) if permuted else None
        mask = random_mask(out, groups, pattern, permutation)
        weight, bias, x = torch.randn(out, columns), torch.randn(out), torch.randn(tokens, columns)
        weight, bias, x = weight.to(dtype), bias.to(dtype), x.to(dtype)
        layer = PackedLinear.from_dense(weight, mask, pattern, bias, permutation)
        dense = (weight * mask).double()
        expected = x.double() @ dense.T + bias.double()
        scale = x.double().abs() @ dense.abs().T + 1  # what rounding errors are relative to
        for path in paths():
            with kernels.force_path(path):
                error = ((layer(x).double() - expected).abs() / scale).max().item()
                assert torch.equal(layer.to_dense(), weight * mask), (path, groups, out)
            assert error < TOLERANCE[dtype], (path, groups, out, tokens, error)


@pytest.mark.parametrize("pattern", ["2:4", "1:4", "3:4", "2:8"])
@pytest.mark.parametrize("dtype", list(TOLERANCE), ids=str)
def test_one_token_is_right_for_every_number_of_windows(pattern, dtype):
    torch.manual_seed(0)
    pattern = NMPattern.parse(pattern)
    for kept in (*range(16, 16 * 20, 16), 24, 150, 1034):
        groups, out = kept // pattern.keep, 1 + kept % 7
        columns = groups * pattern.group
        permutation = torch.randperm(columns) if kept % 32 else None
        mask = random_mask(out, groups, pattern, permutation)
        weight, x = torch.randn(out, columns).to(dtype), torch.randn(columns).to(dtype)
        layer = PackedLinear.from_dense(weight, mask, pattern, permutation=permutation)
        dense = (weight * mask).double()
        scale = dense.abs() @ x.double().abs() + 1
        for path in paths():
            with kernels.force_path(path):
                error = ((layer(x).double() - dense @ x.double()).abs() / scale).max().item()
            assert error < TOLERANCE[dtype], (path, kept, error)


def many_tokens(pattern: NMPattern, dtype: torch.dtype, groups: int, out: int, tokens: int, permuted: bool):
    """A layer with a bias, and a function that gives its error on random tokens over the products' size."""
    permutation = torch.randperm(groups * pattern.group) if permuted else None
    mask = random_mask(out, groups, pattern, permutation)
    weight, bias, x = (torch.randn(*shape).to(dtype) for shape in (mask.shape, (out,), (tokens, mask.shape[1])))
    layer = PackedLinear.from_dense(weight, mask, pattern, bias, permutation)
    dense = (weight * mask).double()
    scale = x.double().abs() @ dense.abs().T + 1
    return layer, lambda: ((layer(x).double() - x.double() @ dense.T - bias.double()).abs() / scale).max().item()


@pytest.mark.parametrize("pattern", ["2:4", "1:4", "4:8", "8:16", "4:16", "1:2"])
def test_many_tokens_take_unpacked_panels_of_rows_in_bf16(pattern):
    if "AVX-512 BF16" not in paths() or kernels.torch_has_tiles():
        pytest.skip("no bf16 products on this processor, or torch has better ones")
    torch.manual_seed(0)
    pattern = NMPattern.parse(pattern)
    for kept, out, tokens, permuted in (
        (32, 1, 24, False),
        (96, 37, 33, True),
        (192, 70, 63, False),
        (2080, 9, 25, True),
    ):
        layer, error = many_tokens(pattern, torch.bfloat16, kept // pattern.keep, out, tokens, permuted)
        assert layer.takes_many
        assert error() < TOLERANCE[torch.bfloat16], (kept, out, tokens, error())


@pytest.mark.parametrize("pattern", ["2:4", "1:4", "3:4", "4:8", "2:8", "8:16", "1:2", "5:7"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_many_tokens_lie_side_by_side(pattern, dtype):
    torch.manual_seed(0)
    for groups, out, tokens, permuted in (
        (8, 1, 9, True),
        (150, 70, 24, False),
        (37, 131, 33, True),
        (64, 5, 130, False),
    ):
        layer, error = many_tokens(NMPattern.parse(pattern), dtype, groups, out, tokens, permuted)
        for path in {"AVX2", "AVX-512"} & set(paths()):
            with kernels.force_path(path):
                assert layer.takes_many
                assert error() < TOLERANCE[dtype], (path, groups, out, tokens, error())


def test_many_tokens_of_rounded_values_are_multiplied_in_fp32_where_torch_is_slower_in_bf16(monkeypatch):
    if "AVX2" not in paths():
        pytest.skip("no AVX2")
    monkeypatch.setattr(kernels, "torch_widens", lambda: True)
    torch.manual_seed(0)
    pattern, permutation = NMPattern(2, 4), torch.randperm(64)
    mask = random_mask(21, 16, pattern, permutation)
    weight, bias, x = torch.randn(21, 64).bfloat16(), torch.randn(21).bfloat16(), torch.randn(2, 30, 64).bfloat16()
    layer = PackedLinear.from_dense(weight, mask, pattern, bias, permutation)
    monkeypatch.setattr(PackedLinear, "takes_many", False)
    with kernels.force_path("AVX2"):
        assert kernels.max_tokens(torch.bfloat16) < 60 and kernels.max_tokens(torch.float32) < 30
        found = layer(x)
    exact = x.double() @ (weight * mask).double().T + bias.double()
    assert found.dtype == torch.bfloat16 and found.shape == (2, 30, 21)
    assert ((found.double() - exact).abs() <= exact.abs() * 2**-8 + 1e-5).all()  # rounded once, at the end


def test_rows_with_much_beyond_whole_windows_leave_the_bf16_path():
    if "AVX-512 BF16" not in paths():
        pytest.skip("no bf16 products on this processor")

    def path(kept: int) -> str:
        pattern = NMPattern(2, 4)
        return PackedLinear.from_dense(
            torch.ones(1, 2 * kept).bfloat16(), random_mask(1, kept // 2, pattern), pattern
        ).path

    assert [path(kept) for kept in (32, 48, 144, 2064)] == ["AVX-512 BF16", "AVX-512", "AVX-512", "AVX-512 BF16"]


def test_an_arena_copies_tensors_side_by_side():
    arena, sources = Arena(), [torch.randn(3, 5), torch.arange(7, dtype=torch.int32), torch.randn(2, 9).bfloat16()]
    copies = [arena.take(source) for source in sources]
    assert all(torch.equal(a, b) and a.data_ptr() % 64 == 0 for a, b in zip(copies, sources, strict=True))
    assert len({c.untyped_storage().data_ptr() for c in copies}) == 1
    large = arena.take(torch.zeros(BLOCK // 4 + 1))  # more than one block holds
    assert large.untyped_storage().data_ptr() != copies[0].untyped_storage().data_ptr()
    assert arena.take(meta := torch.empty(3, device="meta")) is meta and torch.equal(copies[0], sources[0])
    pattern = NMPattern(2, 4)
    layer = PackedLinear.from_dense(torch.randn(8, 16), random_mask(8, 4, pattern), pattern)
    x, dense = torch.randn(16), layer.to_dense()
    layer(x)  # its kernel call now points at the memory that it leaves
    assert arena.settle(layer) is layer and torch.allclose(layer(x), dense @ x, atol=1e-5)
    assert layer.values.untyped_storage().data_ptr() == layer.positions.untyped_storage().data_ptr()


@pytest.mark.parametrize("bits", range(6))
def test_bits_survive_the_round_trip(bits):
    numbers = torch.randint(0, 1 << bits, (3, 77), dtype=torch.uint8)
    packed = layout.pack_bits(numbers, bits)
    assert packed.shape == (3, -(-77 * bits // 32))
    assert torch.equal(layout.unpack_bits(packed, 77, bits), numbers)


def test_positions_that_are_out_of_order_are_found_by_the_kernel_and_by_torch():
    pattern = NMPattern(2, 6)  # three bits can also hold 6 and 7, which are no positions
    for places, good in (([0, 5], True), ([0, 6], False), ([3, 3], False), ([4, 1], False)):
        packed = layout.pack_bits(torch.tensor([[0, 1], places]), 3)
        layer = PackedLinear(6, 2, pattern)
        layer.positions.copy_(packed)
        if kernels.kernel() is not None:
            struct = PackedLinear.from_dense(torch.ones(2, 6), random_mask(2, 1, pattern), pattern)
            struct.positions.copy_(packed)
            struct(torch.ones(1, 6))
            assert kernels.kernel().lib.eggs_bad_row(struct._call.structs) == (-1 if good else 1)
        if good:
            layout.check_positions(packed, 2, pattern, "a")
        else:
            with pytest.raises(EggsError, match="Layer a: its positions"):
                layout.check_positions(packed, 2, pattern, "a")


def test_threads_of_a_server_get_their_own_right_answers():
    torch.manual_seed(0)
    pattern = NMPattern(2, 4)
    mask = random_mask(384, 64, pattern)
    layer = PackedLinear.from_dense(torch.randn(384, 256), mask, pattern)
    dense, wrong = layer.to_dense(), []

    def serve(seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        for _ in range(40):
            x = torch.randn(1 + seed % 12, 256, generator=generator)
            if not torch.allclose(layer(x), x @ dense.T, atol=1e-4):
                wrong.append(seed)

    threads = [threading.Thread(target=serve, args=(i,)) for i in range(12)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    assert not wrong and not any(t.is_alive() for t in threads)


def test_kernel_borrows_the_thread_pool_that_torch_uses():
    if kernels.kernel() is None or sys.platform != "linux":
        pytest.skip("no kernel here")
    runtimes = {w for w in Path("/proc/self/maps").read_text().split() if "libgomp" in w or "libomp" in w}
    assert kernels.kernel().runtime in runtimes
    needed = subprocess.run(["ldd", str(kernels.kernel().file)], capture_output=True, text=True, check=False).stdout
    assert "omp" not in needed


def test_a_path_that_does_not_exist_is_refused():
    with pytest.raises(EggsError, match="no path 'SSE9'"), kernels.force_path("SSE9"):
        pass


def test_no_compiler_and_failing_compiler_keep_their_reason(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    broken = tmp_path / "brokencc"
    broken.write_text(
        "#!/bin/sh\n[ \"$1\" = --version ] && exit 0\necho 'nm.c:1: error: the disk is full' >&2\nexit 1\n"
    )
    broken.chmod(0o755)
    monkeypatch.setenv("CC", str(broken))
    monkeypatch.setattr(kernels, "_loaded", None)
    assert kernels.kernel_path() == "torch (brokencc failed: nm.c:1: error: the disk is full)"
    assert list((tmp_path / "eggs" / "kernels").iterdir()) == []  # nothing half-built stays behind
    layer = PackedLinear.from_dense(torch.eye(4), torch.eye(4).bool() | torch.eye(4).bool().flip(1), NMPattern(2, 4))
    assert torch.equal(layer(torch.arange(4.0)), torch.arange(4.0))
    monkeypatch.delenv("CC")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(kernels, "_loaded", None)
    monkeypatch.setattr(build.importlib.util, "find_spec", lambda name: None)
    assert kernels.kernel_path() == "torch (no C compiler: none of cc, gcc, clang, ziglang is installed)"


def needs_compiler() -> list[str]:
    try:
        return build.find_compiler()
    except build.BuildError as error:
        pytest.skip(str(error))


def test_a_cache_that_cannot_be_written_falls_back_to_a_temporary_folder(monkeypatch, tmp_path):
    needs_compiler()
    (tmp_path / "eggs").write_text("a file where the cache folder should be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(build, "compile_library", lambda compiler, target: target.write_bytes(b"library"))
    file, note = build.build()
    assert file.is_file() and "cannot be written" in note
    shutil.rmtree(file.parent)


@pytest.mark.slow
def test_two_processes_can_compile_at_once(tmp_path):
    needs_compiler()
    code = "from eggs_core.packed.kernel.library import kernel, kernel_path; assert kernel() is not None, kernel_path()"
    env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    running = [subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=env) for _ in range(2)]
    assert [p.wait(480) for p in running] == [0, 0]
    assert [f.suffix for f in (tmp_path / "eggs" / "kernels").iterdir()] == [".so"]


@pytest.mark.slow
def test_kernel_under_address_sanitizer(tmp_path):
    compiler, flags = needs_compiler(), ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
    probe = tmp_path / "probe.c"
    probe.write_text("int main(void) { return 0; }\n")
    found = subprocess.run([*compiler, *flags, str(probe), "-o", str(tmp_path / "probe")], capture_output=True)
    if found.returncode or subprocess.run([str(tmp_path / "probe")], check=False).returncode:
        pytest.skip(f"{compiler[0]} has no AddressSanitizer")
    sources = [str(build.HERE / s) for s in ("selftest.c", *build.SOURCES)]
    program = tmp_path / "selftest"
    subprocess.run([*compiler, "-g", "-O1", *flags, *sources, "-lpthread", "-lm", "-o", str(program)], check=True)
    done = subprocess.run([str(program)], capture_output=True, text=True, timeout=480, check=False)
    assert done.returncode == 0 and done.stdout.endswith("0 faults\n"), done.stdout[-2000:] + done.stderr[-4000:]
