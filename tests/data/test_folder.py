import os
import stat
import struct
import sys
import tarfile
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from selfsort.data.loading import load_images
from selfsort.errors import UserError

posix = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX file names, links or pipes")


def save(path, level=100, size=(8, 8), mode="RGB", **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, level if mode == "L" else (level,) * 3).save(path, **options)
    return path


def fill(root, *names):
    for level, name in enumerate(names):
        save(root / name, level * 10)
    return root


def pack(archive, folder, prefix=""):
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                file.write(path, prefix + path.relative_to(folder).as_posix())
    return archive


def reasons(images):
    return {skipped.id: skipped.reason.split(" (")[0] for skipped in images.skipped}


def test_every_format_is_found_at_any_depth_in_a_stable_order(tmp_path):
    names = ["z.png", "a/b/c/d.jpg", "a/e.JPEG", "a/f.bmp", "g.tiff", "h.gif", "i.webp"]
    images = load_images(fill(tmp_path, *names))
    assert images.ids == tuple(sorted(names))
    assert images.images.shape == (7, 8, 8, 3)
    expected = [names.index(name) * 10 for name in images.ids]
    assert np.abs(images.images[:, 4, 4, 0].astype(int) - expected).max() <= 2
    assert images.files == tuple(tmp_path / name for name in images.ids)
    assert images.source == str(tmp_path)
    assert images.skipped == ()


def test_the_options_load_the_same_set_again(tmp_path):
    fill(tmp_path, "train/cat/1.png", "train/dog/2.png", "test/cat/3.png")
    images = load_images(tmp_path, size=5, resize="pad", split="train", max_pixels=1000)
    again = load_images(images.source, **images.options)
    assert images.fingerprint() == again.fingerprint()
    assert again.options == images.options
    assert images.options == {"size": 5, "channels": 3, "resize": "pad", "split": "train", "max_pixels": 1000}


def test_a_picture_is_known_by_its_content_not_its_name(tmp_path):
    save(tmp_path / "a.txt", format="PNG")
    (tmp_path / "b.jpg").write_text("no picture")
    images = load_images(tmp_path)
    assert images.ids == ("a.txt",)
    assert reasons(images) == {"b.jpg": "not a picture"}


def test_class_folders_become_labels(tmp_path):
    images = load_images(fill(tmp_path, "dog/1.png", "cat/x/2.png", "dog/3.png", "4.png"))
    assert images.ids == ("4.png", "cat/x/2.png", "dog/1.png", "dog/3.png")
    assert images.label_names == ("cat", "dog")
    np.testing.assert_array_equal(images.labels, [-1, 0, 1, 1])
    assert images.labels.dtype == np.int64


def test_a_class_that_lost_all_its_pictures_is_no_label(tmp_path):
    fill(tmp_path, "cat/1.png")
    (tmp_path / "dog").mkdir()
    (tmp_path / "dog" / "2.png").write_bytes(b"")
    images = load_images(tmp_path)
    assert images.label_names == ("cat",) and images.labels.tolist() == [0]


def test_split(tmp_path):
    fill(tmp_path, "train/dog/1.png", "train/cat/2.png", "test/cat/3.png", "unlabelled/4.png", "validation/5.png")
    (tmp_path / "test" / "notes.txt").write_text("no picture")
    train = load_images(tmp_path, split="train")
    assert train.ids == ("train/cat/2.png", "train/dog/1.png")
    assert train.labels.tolist() == [0, 1]
    assert train.skipped == ()
    assert load_images(tmp_path, split="unlabeled").ids == ("unlabelled/4.png",)
    assert load_images(tmp_path, split="val").ids == ("validation/5.png",)
    assert reasons(load_images(tmp_path, split="test")) == {"test/notes.txt": "not a picture"}
    assert len(load_images(tmp_path)) == 5
    with pytest.raises(UserError, match=r"no split 'extra'; it has test, train, unlabelled, validation\.$"):
        load_images(tmp_path, split="extra")
    with pytest.raises(UserError, match="no folder in it is named for a split"):
        load_images(tmp_path / "train", split="train")


@pytest.mark.parametrize("cache", [True, False])
def test_what_cannot_be_read_is_skipped_with_its_reason(tmp_path, cache):
    good = save(tmp_path / "a" / "good.jpg", size=(64, 64))
    data = good.read_bytes()
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "a" / "half.jpg").write_bytes(data[: len(data) // 2])
    (tmp_path / "film.mp4").write_bytes(b"\0\0\0\x20ftypisom" + bytes(1000))
    (tmp_path / "b").mkdir()
    Image.new("1", (20_000, 20_000)).save(tmp_path / "b" / "huge.png")
    save(tmp_path / "c.png", 7, (64, 64))
    images = load_images(tmp_path, cache=cache)
    assert images.ids == ("a/good.jpg", "c.png")
    assert (images.images[1] == 7).all() and np.abs(images.images[0].astype(int) - 100).max() <= 2
    assert images.labels.tolist() == [0, -1]
    assert reasons(images) == {
        "a/half.jpg": "truncated",
        "b/huge.png": "too many pixels",
        "empty.png": "empty",
        "film.mp4": "video",
    }
    assert images.skipped == tuple(sorted(images.skipped))


@pytest.mark.parametrize("make", ["folder", "zip"])
def test_files_that_are_not_the_users_pictures_are_passed_over(tmp_path, make):
    names = [".b.png", "._a.png", "Thumbs.db", "desktop.ini", "x/Thumbs.db"]
    folders = [
        ".thumbnails",
        "__MACOSX",
        "@eaDir",
        "x/@eaDir/a.png",
        "$RECYCLE.BIN",
        "lost+found",
        ".ipynb_checkpoints",
    ]
    folder = fill(tmp_path / "photos", "a.png", "x/1.png", *(f"{name}/c.png" for name in folders))
    for name in names:
        (folder / name).write_bytes(b"\0\0\0\1Bud1")
    source = folder if make == "folder" else pack(tmp_path / "photos.zip", folder)
    images = load_images(source)
    assert images.ids == ("a.png", "x/1.png") and images.skipped == () and images.label_names == ("x",)
    reasons = dict(images.listing.passed_over)
    assert set(reasons.values()) == {"hidden", "of another program"}
    expected = {*names, *(folders if make == "folder" else (f"{name}/c.png" for name in folders))}
    assert reasons.keys() == {name.replace("@eaDir/a.png", "@eaDir") if make == "folder" else name for name in expected}
    assert "@eaDir/c.png" in load_images(source, listing=1).ids


def test_a_hidden_folder_may_be_the_source(tmp_path):
    assert load_images(fill(tmp_path / ".photos", "a.png")).ids == ("a.png",)


@posix
@pytest.mark.parametrize(
    "name", [b"with space.png", b"line\nbreak.png", "emoji \U0001f431.png".encode(), b"latin-\xe9.png", b"a\\b.png"]
)
def test_any_file_name_will_do(tmp_path, name):
    save(tmp_path / "plain.png", 50)
    os.rename(tmp_path / "plain.png", os.path.join(os.fsencode(tmp_path), name))
    for _ in range(2):  # the second time from the cache
        images = load_images(tmp_path)
        assert images.ids == (os.fsdecode(name),)
        assert images.files[0].exists() and (images.images == 50).all()
    assert len(images.fingerprint()) == 32


@posix
def test_a_source_whose_name_is_not_utf_8(tmp_path):
    folder = Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), b"caf\xe9")))
    assert load_images(fill(folder, "a.png")).source == str(folder)


@posix
def test_links_to_folders_are_followed_once_and_loops_end(tmp_path):
    root = fill(tmp_path / "root", "real/1.png", "real/2.png")
    elsewhere = fill(tmp_path / "elsewhere", "3.png")
    (root / "away").symlink_to(elsewhere)
    (root / "a_second_way").symlink_to(root / "real")
    (root / "real" / "up").symlink_to(root)
    (elsewhere / "back").symlink_to(root)
    (root / "itself").symlink_to(root / "itself")
    (root / "nowhere").symlink_to(root / "missing")
    (root / "picture").symlink_to(elsewhere / "3.png")
    images = load_images(root)
    assert images.ids == ("away/3.png", "picture", "real/1.png", "real/2.png")
    assert reasons(images) == {"itself": "not readable", "nowhere": "not readable"}
    second = [("a_second_way", "real"), ("away/back", "."), ("real/up", ".")]
    expected = tuple((name, f"a second way to a folder ({first})") for name, first in second)
    assert images.listing.passed_over == expected
    assert images.listing.remarks == {"away/3.png": "below a link", "picture": "a link"}


@posix
def test_pipes_are_not_waited_for(tmp_path):
    fill(tmp_path, "a.png")
    os.mkfifo(tmp_path / "pipe.png")
    assert reasons(load_images(tmp_path)) == {"pipe.png": "not a regular file"}


@posix
@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may read everything")
def test_files_without_permission(tmp_path):
    fill(tmp_path, "a.png", "b.png", "closed/c.png")
    (tmp_path / "b.png").chmod(0)
    (tmp_path / "closed").chmod(0)
    try:
        assert reasons(load_images(tmp_path)) == {"b.png": "not readable", "closed": "not readable"}
    finally:
        (tmp_path / "closed").chmod(stat.S_IRWXU)


@posix
@pytest.mark.parametrize("name", ["", "photos", "a.zip", "a.npy", "a.npz", "a.png"])
def test_another_users_folder(closed, name):
    folder, held = closed
    with held(), pytest.raises(UserError, match="cannot be accessed: Permission denied"):
        load_images(folder / name)


@pytest.mark.skipif(not Path("/proc/self/mountinfo").exists(), reason="needs Linux")
def test_a_virtual_file_system_is_not_a_source(tmp_path):
    for made_up in ("/proc", "/proc/self", "/sys/kernel"):
        with pytest.raises(UserError, match="is a folder of the kernel, not on a disk"):
            load_images(made_up)
    fill(tmp_path, "a.png")
    (tmp_path / "processes").symlink_to("/proc")
    (tmp_path / "messages.png").symlink_to("/proc/kmsg")
    images = load_images(tmp_path)
    assert images.ids == ("a.png",)
    expected = (("messages.png", "of the kernel, not on a disk"), ("processes", "of the kernel, not on a disk"))
    assert images.listing.passed_over == expected


def test_a_folder_that_cannot_be_entered(tmp_path, monkeypatch):
    fill(tmp_path, "a.png", "closed/c.png")
    scandir = os.scandir

    def refuse(path):
        if os.path.basename(os.path.normpath(path)) == "closed":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    with monkeypatch.context() as patch:  # only here, as pytest removes the folder in the same way
        patch.setattr(os, "scandir", refuse)
        assert reasons(load_images(tmp_path)) == {"closed": "not readable"}
        with pytest.raises(UserError, match=r"closed' cannot be read: Permission denied\.$"):
            load_images(tmp_path / "closed")


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([(28, 28)] * 3, 28),
        ([(96, 96)] * 3, 96),
        ([(97, 97)] * 3, 64),
        ([(28, 20)] * 3, 64),
        ([(28, 28), (32, 32)], 64),
    ],
)
def test_the_native_size_is_kept_if_it_is_small_square_and_common(tmp_path, sizes, expected):
    for number, size in enumerate(sizes):
        save(tmp_path / f"{number}.png", size=size)
    assert load_images(tmp_path).images.shape == (len(sizes), expected, expected, 3)
    assert load_images(tmp_path, size=10).images.shape == (len(sizes), 10, 10, 3)


def test_pictures_unlike_the_sample_are_fitted_to_its_size(tmp_path):
    for number in range(200):
        save(tmp_path / f"{number:03d}.png", size=(12, 12))
    save(tmp_path / "101.png", size=(40, 30))  # between two that are in the sample
    assert load_images(tmp_path).images.shape == (200, 12, 12, 3)


def test_unreadable_files_do_not_decide_the_size(tmp_path):
    for number in range(100):
        (tmp_path / f"{number:03d}.txt").write_text("no picture")
    save(tmp_path / "zz.png", size=(20, 20))
    assert load_images(tmp_path).image_shape == (20, 20, 3)


def test_channels(tmp_path):
    for number in range(80):
        save(tmp_path / f"{number:02d}.png", 90, mode="L")
    assert load_images(tmp_path).image_shape == (8, 8, 1)
    assert load_images(tmp_path, channels=3).image_shape == (8, 8, 3)
    Image.new("RGB", (8, 8), (255, 0, 0)).save(tmp_path / "33.png")  # not in the sample
    coloured = load_images(tmp_path)
    assert coloured.image_shape == (8, 8, 3)
    assert coloured.images[33, 0, 0].tolist() == [255, 0, 0] and (coloured.images[34] == 90).all()
    grey = load_images(tmp_path, channels=1).images
    assert (grey[33] == 76).all() and (grey[34] == 90).all()  # 0.299 * 255


@pytest.mark.parametrize("make", ["folder", "zip"])
def test_nothing_to_read(tmp_path, make):
    folder = tmp_path / "photos"
    folder.mkdir()
    source = folder if make == "folder" else pack(tmp_path / "photos.zip", folder)
    with pytest.raises(UserError, match=r"photos.* holds no files; .*\.$"):
        load_images(source)
    (folder / "a.txt").write_text("no picture")
    (folder / "b.txt").write_text("no picture")
    (folder / "c.png").write_bytes(b"")
    source = folder if make == "folder" else pack(tmp_path / "photos.zip", folder)
    with pytest.raises(UserError, match=r"photos.*\(3 files skipped: not a picture \(2\), empty \(1\)\)"):
        load_images(source)


def test_only_hidden_files_count_as_nothing(tmp_path):
    (tmp_path / ".DS_Store").write_bytes(b"x")
    with pytest.raises(UserError, match="holds no files"):
        load_images(tmp_path)


def test_fold_means_nothing_for_a_folder(tmp_path):
    with pytest.raises(UserError, match="no folds, so fold=1"):
        load_images(fill(tmp_path, "a.png"), fold=1)


def test_a_zip_gives_the_same_as_its_folder(tmp_path):
    folder = fill(tmp_path / "photos", "train/cat/1.png", "train/dog/2.jpg", "test/cat/3.png", "unlabeled/4.gif")
    (folder / "train" / "half.png").write_bytes((folder / "train" / "cat" / "1.png").read_bytes()[:-30])
    archive = pack(tmp_path / "photos.zip", folder)
    for options in ({}, {"split": "train"}, {"size": 5, "channels": 1}):
        unpacked, packed = load_images(folder, **options), load_images(archive, **options)
        assert packed.fingerprint() == unpacked.fingerprint()
        assert packed.label_names == unpacked.label_names
        np.testing.assert_array_equal(packed.labels, unpacked.labels)
        assert packed.skipped == unpacked.skipped
        assert packed.files is None and packed.source == str(archive)
        assert load_images(packed.source, **packed.options).fingerprint() == packed.fingerprint()


def test_a_folder_that_a_whole_zip_shares_is_dropped(tmp_path):
    folder = fill(tmp_path / "photos", "cat/1.png", "dog/2.png", ".hidden/3.png")
    shared = pack(tmp_path / "a.zip", folder, "My Photos/")
    with zipfile.ZipFile(shared, "a") as file:
        file.writestr("__MACOSX/My Photos/._1.png", b"x")
    images = load_images(shared)
    assert images.ids == ("cat/1.png", "dog/2.png") and images.label_names == ("cat", "dog")
    assert images.skipped == ()
    split = pack(tmp_path / "b.zip", folder, "train/")
    assert load_images(split, split="train").ids == ("train/cat/1.png", "train/dog/2.png")
    assert load_images(pack(tmp_path / "c.zip", fill(tmp_path / "flat", "1.png"))).ids == ("1.png",)


def test_no_id_from_a_zip_leads_out_of_a_folder(tmp_path):
    archive = pack(tmp_path / "a.zip", fill(tmp_path / "photos", "cat/1.png"))
    with zipfile.ZipFile(archive, "a") as file:
        for name in ("/etc/2.png", "../3.png", "cat/../../4.png"):
            file.writestr(name, (tmp_path / "photos" / "cat" / "1.png").read_bytes())
    images = load_images(archive)
    assert images.ids == ("cat/1.png", "etc/2.png")
    outside = "its path leads out of the zip"
    assert images.listing.passed_over == (("../3.png", outside), ("cat/../../4.png", outside))


def test_of_two_files_with_one_path_the_later_counts_as_if_unpacked(tmp_path):
    one, other = save(tmp_path / "1.png", 10).read_bytes(), save(tmp_path / "2.png", 200).read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, content in (("cat/a.png", one), ("cat/a.png", other), ("dog/b.png", other), ("/dog/b.png", one)):
            file.writestr(name, content)
    images = load_images(tmp_path / "a.zip")
    assert images.ids == ("cat/a.png", "dog/b.png") and images.images[:, 0, 0, 0].tolist() == [200, 10]
    assert images.listing.passed_over == tuple(
        (name, "another file of this path follows it in the zip") for name in ("cat/a.png", "dog/b.png")
    )


def named_as(archive, stored, extra=b""):
    """Pack a picture in a folder whose name has these bytes, without stating their encoding."""
    info = zipfile.ZipInfo("?" * len(stored) + "/1.png")
    info.extra = extra
    picture = save(archive.parent / "1.png").read_bytes()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr(info, picture)
        file.writestr("dog/1.png", picture)
    archive.write_bytes(archive.read_bytes().replace(b"?" * len(stored), stored))
    return load_images(archive)


def test_names_in_utf_8_that_a_zip_does_not_mark(tmp_path):
    images = named_as(tmp_path / "a.zip", "caf\u00e9".encode())
    assert images.ids == ("caf\u00e9/1.png", "dog/1.png") and images.label_names == ("caf\u00e9", "dog")
    assert images.listing.remarks == {}
    earlier = load_images(tmp_path / "a.zip", listing=1)
    assert earlier.ids == ("caf\u251c\u2310/1.png", "dog/1.png") and len(earlier.images) == 2


def test_names_in_no_known_encoding_are_reported(tmp_path):
    images = named_as(tmp_path / "a.zip", "\u732b".encode("cp932"))
    assert images.listing.remarks == {images.ids[1]: "its name is in an unknown encoding, read as cp437"}


def test_the_name_that_a_zip_gives_besides_one_in_an_older_encoding(tmp_path):
    field = struct.pack("<BI", 1, zlib.crc32(b"\x94/1.png")) + "\u732b/1.png".encode()
    images = named_as(tmp_path / "a.zip", b"\x94", struct.pack("<HH", 0x7075, len(field)) + field)
    assert images.ids == ("dog/1.png", "\u732b/1.png") and images.listing.remarks == {}


def test_a_zip_made_by_windows_with_its_own_separators(tmp_path):
    picture = save(tmp_path / "1.png").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        for name in ("photos\\cat\\1.png", "photos\\dog\\2.png", "photos\\@eaDir\\3.png", "..\\4.png"):
            file.writestr(name, picture)
    images = load_images(tmp_path / "a.zip")
    assert images.ids == ("photos\\cat\\1.png", "photos\\dog\\2.png") and images.label_names == ("cat", "dog")
    assert len(images.listing.passed_over) == 2


def test_a_link_in_a_zip_is_no_picture(tmp_path):
    info = zipfile.ZipInfo("link.png")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    archive = pack(tmp_path / "a.zip", fill(tmp_path / "photos", "1.png"))
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr(info, "1.png")
    assert load_images(archive).listing.passed_over == (("link.png", "a link in a zip"),)


def test_a_changed_zip_is_read_again(tmp_path):
    archive = pack(tmp_path / "a.zip", fill(tmp_path / "one", "1.png"))
    assert load_images(archive).ids == ("1.png",)
    pack(archive, fill(tmp_path / "two", "1.png", "2.png"))
    os.utime(archive, ns=(1, 1))
    assert load_images(archive).ids == ("1.png", "2.png")


def test_damaged_zips(tmp_path):
    archive = pack(tmp_path / "a.zip", fill(tmp_path / "photos", "1.png", "2.png"))
    data = bytearray(archive.read_bytes())
    (tmp_path / "cut.zip").write_bytes(data[:50])
    with pytest.raises(UserError, match=r"cut.zip' is not a readable zip file \(.*\); pack it again\.$"):
        load_images(tmp_path / "cut.zip")
    data[60] ^= 255  # in the first picture's bytes
    (tmp_path / "flipped.zip").write_bytes(data)
    images = load_images(tmp_path / "flipped.zip")
    assert images.ids == ("2.png",) and reasons(images) == {"1.png": "damaged"}


def test_an_encrypted_zip(tmp_path):
    archive = pack(tmp_path / "a.zip", fill(tmp_path / "photos", "1.png"))
    data = bytearray(archive.read_bytes())
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(data)
    with pytest.raises(UserError, match=r"1 file skipped: encrypted \(1\)"):
        load_images(archive)


@pytest.mark.slow
def test_real_photos(data_root, tmp_path):
    with tarfile.open(data_root / "flowers.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    images = load_images(tmp_path / "flowers", size=32)
    assert images.images.shape == (4317, 32, 32, 3)
    assert images.label_names == ("daisy", "dandelion", "rose", "sunflower", "tulip")
    assert images.skipped == ()
    for place in (0, 2000, 4316):
        with Image.open(images.files[place]) as photo:
            expected = np.asarray(photo.convert("RGB").resize((32, 32), Image.Resampling.BOX))
        assert np.abs(images.images[place].astype(int) - expected).mean() < 4


def test_pictures_can_be_left_out(tmp_path):
    fill(tmp_path / "photos", "a/1.png", "a/2.png", "b/3.png")
    (tmp_path / "photos" / "broken.png").write_bytes(b"")
    pack(tmp_path / "photos.zip", tmp_path / "photos")
    for source in (tmp_path / "photos", tmp_path / "photos.zip"):
        images = load_images(source, exclude=["a/2.png", "b/3.png", "broken.png"])
        assert images.ids == ("a/1.png",) and images.label_names == ("a",) and images.skipped == ()
        assert load_images(images.source, **images.options).ids == images.ids
        assert len(load_images(source)) == 3


def test_what_is_not_there_cannot_be_left_out(tmp_path):
    fill(tmp_path, "1.png")
    with pytest.raises(UserError, match=r"does not hold 1 of the 2 pictures to leave out, such as '2\.png'"):
        load_images(tmp_path, exclude=["1.png", "2.png"])
    with pytest.raises(UserError, match="holds no other files than those left out"):
        load_images(tmp_path, exclude=["1.png"])
