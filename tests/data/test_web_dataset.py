import io
import os
import struct
import tarfile

import numpy as np
import pytest
from PIL import Image

from selfsort.data import cache
from selfsort.data.loading import has_files, list_images, load_images
from selfsort.data.matching import labels_for
from selfsort.errors import UserError
from shards import noise, picture, write_tar

FORMATS = {"gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT, "ustar": tarfile.USTAR_FORMAT}


def samples(first, count):
    """Return the files of samples in WebDataset's convention: a picture with a class and other data."""
    return [
        each
        for i in range(first, first + count)
        for each in ((f"{i:04d}.cls", f"{i % 3}\n"), (f"{i:04d}.json", '{"label": "x"}'), (f"{i:04d}.png", picture(i)))
    ]


def levels(images):
    return images.images[:, 0, 0, 0].tolist()


def passed_over(images):
    return dict(images.listing.passed_over)


def refused(source, **options):
    with pytest.raises(UserError) as error:
        load_images(source, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_tar_gives_the_same_as_its_folder(tmp_path):
    folder = tmp_path / "photos"
    for level, name in enumerate(("train/cat/1.png", "train/dog/2.jpg", "test/cat/3.png", "unlabeled/4.gif")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), level).save(folder / name)
    (folder / "train" / "half.png").write_bytes(picture(1)[:-30])
    for top in (".", "photos", "/photos"):
        with tarfile.open(tmp_path / "photos.tar", "w") as tar:
            tar.add(folder, top)
        for options in ({}, {"split": "train"}, {"classes_from": "none"}):
            unpacked, packed = load_images(folder, **options), load_images(tmp_path / "photos.tar", **options)
            assert packed.fingerprint() == unpacked.fingerprint()
            assert packed.label_names == unpacked.label_names and packed.skipped == unpacked.skipped
            np.testing.assert_array_equal(packed.labels, unpacked.labels)
            assert packed.files is None and not has_files(packed.source)
            again = load_images(packed.source, **packed.options)
            assert again.fingerprint() == packed.fingerprint() and cache.usage().sets


def test_the_folders_labels_are_found_for_a_tar(tmp_path):
    tar = write_tar(tmp_path / "a.tar", [(f"{i}.png", picture(i)) for i in range(3)])
    for i, kind in enumerate("bab"):
        (tmp_path / "kinds" / kind).mkdir(parents=True, exist_ok=True)
        (tmp_path / "kinds" / kind / f"{i}.png").write_bytes(picture(i))
    assert labels_for(list_images(tar), list_images(tmp_path / "kinds")).tolist() == [1, 0, 1]


@pytest.mark.parametrize("name", ["shards", "shards/a-{000..001}.tar", "shards/a-0{00,01}.tar"])
def test_samples_in_shards(tmp_path, name):
    write_tar(tmp_path / "shards" / "a-000.tar", samples(0, 4))
    write_tar(tmp_path / "shards" / "a-001.tar", samples(4, 3))
    images = load_images(tmp_path / name)
    assert images.ids == tuple(f"{i:04d}.png" for i in range(7)) and levels(images) == list(range(7))
    assert images.label_names == ("0", "1", "2") and images.labels.tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert images.told == ("classes: 0, 1, 2 stored in .cls files",)
    assert images.source == str(tmp_path / name) and images.listing.passed_over == () == images.skipped
    assert load_images(images.source, **images.options).fingerprint() == images.fingerprint()
    assert images.open(5).getpixel((0, 0)) == (5, 5, 5)
    assert [images.subset([6, 2]).open(i).getpixel((0, 0))[0] for i in range(2)] == [6, 2]


def test_classes_stored_in_json(tmp_path):
    stored = ['{"label": "dog"}', '{"label": null, "class": "cat"}', "[1]", "{", '{"label": [2]}', '{"label": true}']
    files = [each for i, text in enumerate(stored) for each in ((f"{i}.jpg", picture(i, "JPEG")), (f"{i}.json", text))]
    images = list_images(write_tar(tmp_path / "a.tar", files))
    assert images.label_names == ("cat", "dog") and images.labels.tolist() == [1, 0, -1, -1, -1, -1]
    assert images.told == ("classes: cat, dog stored in .json files",)


def test_the_caller_decides_what_is_a_class(tmp_path):
    tar = write_tar(tmp_path / "a.tar", [("x/1.png", picture(1)), ("x/1.cls", "dog"), ("y/2.png", picture(2))])
    assert list_images(tar).label_names == ("dog",)
    assert list_images(tar, classes_from="parent").label_names == ("x", "y")
    assert list_images(tar, classes_from="none").labels is None


def test_shards_of_one_folder_and_names_in_several_shards(tmp_path):
    for shard in ("a", "b"):
        write_tar(tmp_path / "s" / f"{shard}.tar", [(f"top/{kind}/1.png", picture(1)) for kind in ("cat", "dog")])
    images = list_images(tmp_path / "s")
    assert images.ids == ("a/cat/1.png", "a/dog/1.png", "b/cat/1.png", "b/dog/1.png")
    assert images.label_names == ("cat", "dog") and images.labels.tolist() == [0, 1, 0, 1]
    assert list_images(tmp_path / "s", exclude=["a/cat/1.png", "b/cat/1.png"]).label_names == ("dog",)


def test_shards_named_for_splits(tmp_path):
    write_tar(tmp_path / "s" / "train-0.tar", [("cat/1.png", picture(1)), ("dog/2.png", picture(2))])
    write_tar(tmp_path / "s" / "val-0.tar", [("dog/3.png", picture(3))])
    images = list_images(tmp_path / "s")
    assert images.ids == ("cat/1.png", "dog/2.png", "dog/3.png") and images.label_names == ("cat", "dog")
    held_out = list_images(tmp_path / "s", split="validation")
    assert held_out.ids == ("dog/3.png",) and held_out.label_names == ("dog",)
    assert [row.id for row in held_out.account() if row.details == "of another split"] == ["cat/1.png", "dog/2.png"]


@pytest.mark.parametrize("form", FORMATS)
def test_any_file_name_will_do(tmp_path, form):
    names = [
        "a b.png",
        "é/猫🐈.png",
        "new\nline.png",
        "x" * 120 + "/" + "y" * 90 + ".png",
        "caf\udce9.png",
        "no suffix",
    ]
    names = names if form != "ustar" else [name for name in names if "🐈" not in name]
    tar = write_tar(tmp_path / "a.tar", [(name, picture(i)) for i, name in enumerate(names)], FORMATS[form])
    images = load_images(tar)
    assert set(images.ids) == set(names)
    assert [names[level] for level in levels(images)] == list(images.ids)


@pytest.mark.parametrize("form", ["gnu", "pax"])
def test_longer_names_than_a_header_holds(tmp_path, form):
    names = ["/".join(["d" * 100] * 30) + f"/{i}.png" for i in range(2)]
    tar = write_tar(tmp_path / "a.tar", [*((name, picture(1)) for name in names), ("b.png", picture(1))], FORMATS[form])
    assert list_images(tar).ids == ("b.png", *names)


def test_of_two_files_with_one_path_the_later_counts_as_if_unpacked(tmp_path):
    files = [("1.png", picture(1)), ("1.cls", "dog"), ("1.png", picture(9)), ("1.cls", "cat"), ("2.png", picture(2))]
    images = load_images(write_tar(tmp_path / "a.tar", files))
    assert images.ids == ("1.png", "2.png") and levels(images) == [9, 2] and images.label_names == ("cat",)
    assert passed_over(images) == {
        name: "another file of this path follows it in the tar" for name in ("1.png", "1.cls")
    }


def test_a_mask_is_not_the_picture_of_its_sample(tmp_path):
    files = [("1.jpg", picture(1, "JPEG")), ("1.seg.png", picture(2)), ("1.json", "{}")]
    plain = [("IMG.jpg", picture(3, "JPEG")), ("IMG.edited.jpg", picture(4, "JPEG")), ("readme.txt", "Hello")]
    images = load_images(write_tar(tmp_path / "a.tar", files + plain))
    assert images.ids == ("1.jpg", "IMG.edited.jpg", "IMG.jpg")
    assert passed_over(images) == {"1.seg.png": "another picture of its sample"}
    assert [skipped.id for skipped in images.skipped] == ["readme.txt"]


def test_what_is_no_file_of_the_tar_is_left_out(tmp_path):
    tar = write_tar(tmp_path / "a.tar", [("cat/1.png", picture(1)), ("../2.png", picture(2)), (".3.png", picture(3))])
    with tarfile.open(tar, "a") as file:
        for name, kind in (("4.png", tarfile.SYMTYPE), ("5.png", tarfile.LNKTYPE), ("6.png", tarfile.FIFOTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "cat/1.png"
            file.addfile(info)
        sparse = tarfile.TarInfo("7.png")
        sparse.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "9000000000"}
        file.addfile(sparse)
        old = tarfile.TarInfo("8.png")
        old.type = tarfile.GNUTYPE_SPARSE
        file.addfile(old)
    images = load_images(tar)
    assert images.ids == ("1.png",)
    assert passed_over(images) == {
        "../2.png": "its path leads out of the tar",
        ".3.png": "hidden",
        "4.png": "a link in a tar",
        "5.png": "a link in a tar",
        "6.png": "not a regular file",
        "7.png": "a sparse file in a tar",
        "8.png": "a sparse file in a tar",
    }


def test_a_picture_of_too_many_bytes_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr("selfsort.data.sources.web_dataset.MAX_BYTES", 1000)
    images = load_images(write_tar(tmp_path / "a.tar", [("1.png", picture(1)), ("2.png", noise(2, 64))]))
    assert images.ids == ("1.png",) and images.skipped[0].reason.startswith("too many bytes")


def test_only_headers_are_read_to_list_a_tar(tmp_path, monkeypatch):
    tar = write_tar(tmp_path / "a.tar", [(f"{i}.png", b"x" * 100_000) for i in range(20)])
    read = []

    class Counted(io.FileIO):
        def read(self, size=-1):
            read.append(size)
            return super().read(size)

    monkeypatch.setattr("selfsort.data.shards.open", lambda path, *_: Counted(path), raising=False)
    monkeypatch.setattr("selfsort.data.loading.with_ranges", lambda originals, max_pixels: originals)
    assert len(list_images(tar)) == 20
    assert 0 < sum(read) < 50_000 and min(read) > 0


# Damage


@pytest.mark.parametrize("cut", [300, 512 + 40, 1400, 3 * 1024])
def test_a_cut_off_tar_is_used_up_to_there(tmp_path, cut):
    whole = write_tar(tmp_path / "whole.tar", [(f"{i}.png", picture(i)) for i in range(6)])
    (tmp_path / "cut.tar").write_bytes(whole.read_bytes()[:cut])
    if cut < 1024:
        expected = f"'{tmp_path}/cut.tar' cannot be read: it is truncated (get or pack it again)."
        assert refused(tmp_path / "cut.tar") == expected
        return
    images = load_images(tmp_path / "cut.tar")
    assert levels(images) == list(range(cut // 1024))
    assert images.skipped == (("cut.tar", "truncated (get or pack it again)"),)
    count = "1 picture" if cut < 2048 else "3 pictures"
    assert f"cut.tar is truncated (get or pack it again): {count} before that are used" in images.told
    assert ("cut.tar", "left out") in [row[:2] for row in images.account()]


def test_a_damaged_header_ends_one_shard_but_not_the_others(tmp_path):
    for shard in range(3):
        write_tar(tmp_path / "s" / f"{shard}.tar", samples(10 * shard, 3))
    data = bytearray((tmp_path / "s" / "1.tar").read_bytes())
    data[4 * 1024 + 20] ^= 1  # in the header of 0011.json
    (tmp_path / "s" / "1.tar").write_bytes(data)
    images = load_images(tmp_path / "s")
    assert [level for level in levels(images) if not 10 <= level < 20] == [0, 1, 2, 20, 21, 22]
    assert [level for level in levels(images) if 10 <= level < 20] == [10]
    assert images.skipped == (("1.tar", "damaged (a senseless header at byte 4,096; get or pack it again)"),)
    assert passed_over(images) == {"0011.cls": "of a sample without a picture"}


def test_zeros_in_the_middle_do_not_end_a_tar(tmp_path):
    data = bytearray(write_tar(tmp_path / "a.tar", [(f"{i}.png", picture(i)) for i in range(6)]).read_bytes())
    data[1024:2048] = bytes(1024)
    (tmp_path / "a.tar").write_bytes(data)
    assert levels(load_images(tmp_path / "a.tar")) == [0, 2, 3, 4, 5]
    (tmp_path / "a.tar").write_bytes(data + b"x" * 700)
    assert load_images(tmp_path / "a.tar").skipped[0].reason.startswith("damaged")


def test_tars_joined_into_one(tmp_path):
    one, two = (write_tar(tmp_path / f"{n}.tar", [(f"{n}.png", picture(n))]).read_bytes() for n in (1, 2))
    (tmp_path / "joined.tar").write_bytes(one + two)
    assert load_images(tmp_path / "joined.tar").ids == ("1.png", "2.png")


def test_numbers_that_a_header_must_not_have(tmp_path):
    def with_size(field):
        info = tarfile.TarInfo("1.png")
        header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
        header[124:136] = field
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        (tmp_path / "a.tar").write_bytes(bytes(header) + bytes(1024))
        return refused(tmp_path / "a.tar")

    assert "truncated" in with_size(b"\x80" + struct.pack(">11s", b"\xff" * 11))  # 256^11 bytes
    assert "a negative size" in with_size(b"\xff" * 12)
    assert "a senseless header" in with_size(b"12345678912x")


def test_extended_headers_that_are_too_long_or_senseless(tmp_path):
    def extended(kind, content, length=None):
        info = tarfile.TarInfo("x")
        info.type, info.size = kind, len(content) if length is None else length
        header = info.tobuf(tarfile.GNU_FORMAT)
        last = tarfile.TarInfo("1.png").tobuf()
        data = header + content.ljust(-(-info.size // 512) * 512, b"\0") + last + bytes(1024)
        (tmp_path / "a.tar").write_bytes(data)
        return refused(tmp_path / "a.tar")

    assert "a header of 2,000,000 bytes" in extended(tarfile.GNUTYPE_LONGNAME, b"", 2_000_000)
    for content in (b"0 path=x\n", b"path=x", b"99999999999999999999999 path=x\n", b"100 path=x\n"):
        assert "an unreadable header" in extended(tarfile.XHDTYPE, content)


def test_a_shard_that_changes_after_it_was_listed_shows_no_other_picture(tmp_path):
    tar = write_tar(tmp_path / "a.tar", [("1.png", picture(1)), ("2.png", picture(2))])
    images = list_images(tar)
    write_tar(tar, [("2.png", picture(9)), ("1.png", picture(8))])
    os.utime(tar, ns=(1, 1))
    with pytest.raises(UserError, match="its shard has changed since it was listed"):
        images.open(0)
    assert levels(load_images(tar)) == [8, 9]


def test_nothing_to_read(tmp_path):
    write_tar(tmp_path / "none.tar", [])
    (tmp_path / "zero.tar").write_bytes(b"")
    (tmp_path / "text.tar").write_bytes(b"no tar" * 1000)
    write_tar(tmp_path / "text only.tar", [("1.txt", "Dear all")])
    assert "none.tar' holds no files" in refused(tmp_path / "none.tar")
    assert "it is empty" in refused(tmp_path / "zero.tar")
    assert "it is damaged (a senseless header at byte 0" in refused(tmp_path / "text.tar")
    assert "not a picture" in refused(tmp_path / "text only.tar")
    assert "no folds" in refused(tmp_path / "none.tar", fold=1)


def test_a_tar_of_one_picture(tmp_path):
    assert load_images(write_tar(tmp_path / "a.tar", [("only.png", picture(7))])).ids == ("only.png",)


@pytest.mark.parametrize("name", ["a.tar.gz", "a.tgz", "a.tar"])
def test_a_compressed_tar_says_how_to_go_on(tmp_path, name):
    with tarfile.open(tmp_path / name, "w:gz") as tar:
        tar.add(write_tar(tmp_path / "b.tar", []), "1.png")
    assert "it is compressed (unpack it, or decompress it to a .tar" in refused(tmp_path / name)


def test_missing_shards(tmp_path):
    write_tar(tmp_path / "a-0.tar", samples(0, 1))
    pattern = str(tmp_path / "a-{0..9}.tar")
    assert refused(pattern).startswith(f"{pattern!r} names 10 shards, but 9 of them are not there, such as")
    assert "names more than 100,000 shards" in refused(tmp_path / "a-{0..999999}.tar")


def test_a_folder_with_a_picture_is_a_folder_of_pictures(tmp_path):
    write_tar(tmp_path / "a.tar", samples(0, 2))
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / ".1.png").write_bytes(picture(1))
    images = list_images(tmp_path)
    assert len(images) == 2 and passed_over(images) == {"notes.txt": "not a shard", ".1.png": "hidden"}
    (tmp_path / "1.png").write_bytes(picture(1))
    images = load_images(tmp_path)
    assert images.ids == ("1.png",) and "archive (unpack it)" in dict(images.skipped).values()


def test_a_checksum_of_signed_bytes(tmp_path):
    header = bytearray(tarfile.TarInfo("caf\u00e9.png").tobuf(tarfile.GNU_FORMAT))
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % (sum(header) - 256 * sum(byte > 127 for byte in header))
    (tmp_path / "a.tar").write_bytes(bytes(header) + bytes(1024))
    assert list_images(tmp_path / "a.tar").ids == ("caf\u00e9.png",)
