"""Picture areas: found inside borders, mounts, pages and lids, made here by program; never where there is no frame."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest
import torch
from skimage import data

from bringback.errors import PhotoError
from bringback.ops.areas import Area, areas_by_hand, fill_inside, outside, parsed_areas
from bringback.ops.frames import find_areas
from bringback.ops.tiled_fill import fill_into

WHITE, BLACK, CREAM = (0.94, 0.94, 0.93), (0.06, 0.06, 0.07), (0.93, 0.89, 0.8)
Made = tuple[np.ndarray, list[np.ndarray]]  # a scan (H, W, 3) in [0, 1] and the corners (4, 2) of its pictures


def print_of(picture: np.ndarray, height: int = 300) -> Made:
    """A faded print without a border."""
    size = (round(picture.shape[1] / picture.shape[0] * height), height)
    pixels = cv2.resize(picture, size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    return 0.2 + 0.55 * pixels.reshape(height, size[0], -1).repeat(3 // pixels[0, 0].size, 2), [corners(*size)]


def corners(width: float, height: float) -> np.ndarray:
    return np.array([(0, 0), (width, 0), (width, height), (0, height)], float)


def framed(made: Made, color: tuple[float, ...], top: int, right: int, bottom: int, left: int) -> Made:
    pixels, places = made
    frame = cv2.copyMakeBorder(pixels, top, bottom, left, right, cv2.BORDER_CONSTANT, value=color)
    return frame, [place + np.array([left, top]) for place in places]


def bordered(picture: np.ndarray) -> Made:
    return framed(print_of(picture), WHITE, 14, 17, 15, 16)


def black(picture: np.ndarray) -> Made:
    return framed(print_of(picture), BLACK, 3, 4, 3, 3)


def instant(picture: np.ndarray) -> Made:
    pixels, places = framed(print_of(picture), CREAM, 22, 20, 80, 20)
    written = np.zeros(pixels.shape[:2], np.uint8)
    cv2.putText(written, "June 1974", (70, 370), cv2.FONT_HERSHEY_SIMPLEX, 1.0, 255, 2, cv2.LINE_AA)
    return pixels * (1 - 0.8 * (written / 255.0).astype(np.float32)[..., None]), places


def slide(picture: np.ndarray) -> Made:
    pixels, (place,) = print_of(picture)
    window = np.zeros(pixels.shape[:2], np.uint8)
    cv2.rectangle(window, (9, 9), (pixels.shape[1] - 10, pixels.shape[0] - 10), 255, -1)
    window = cv2.dilate(window, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (19, 19)))  # round corners
    return framed((np.where(window[..., None] > 0, pixels, np.float32(WHITE)), [place]), WHITE, 80, 60, 90, 60)


def tilted(picture: np.ndarray) -> Made:
    pixels, places = framed(bordered(picture), BLACK, 60, 60, 60, 60)
    height, width = pixels.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2 - 0.5, height / 2 - 0.5), 4, 0.95)
    turned = cv2.warpAffine(pixels, turn, (width, height), borderMode=cv2.BORDER_REPLICATE)
    return turned, [np.c_[place - 0.5, np.ones(4)] @ turn.T + 0.5 for place in places]


def deckled(picture: np.ndarray) -> Made:
    pixels, places = framed(bordered(picture), BLACK, 40, 40, 40, 40)
    random = np.random.default_rng(3)
    for turn in range(4):  # teeth along each side, 0 to 6 pixels into the white
        side = np.rot90(pixels, turn)
        for x in range(40, side.shape[1] - 40, 5):
            side[40 : 40 + random.integers(0, 7), x : x + 5] = BLACK
    return pixels, places


def on_glass(picture: np.ndarray) -> Made:
    """In the corner of a scanner, whose lid is seen on two sides."""
    return framed(print_of(picture), WHITE, 0, 90, 120, 0)


def pair(picture: np.ndarray) -> Made:
    """Two prints on an album page, one with a white border, which does not reach its neighbor's height."""
    first, second = framed(print_of(picture, 200), WHITE, 12, 12, 12, 12), print_of(np.rot90(picture), 180)
    page = np.empty((340, first[0].shape[1] + second[0].shape[1] + 90, 3), np.float32)
    page[:] = BLACK
    left = 30, first[0].shape[1] + 60
    for (pixels, _), x, y in zip((first, second), left, (30, 110), strict=True):
        page[y : y + pixels.shape[0], x : x + pixels.shape[1]] = pixels
    return page, [
        place + np.array(at)
        for place, at in zip((first[1][0], second[1][0]), zip(left, (30, 110), strict=True), strict=True)
    ]


def oval(picture: np.ndarray) -> tuple[np.ndarray, Area]:
    """A portrait in the oval opening of a tilted mount."""
    pixels = print_of(picture)[0][:, :220]
    mask = cv2.ellipse(np.zeros(pixels.shape[:2], np.uint8), (110, 150), (100, 140), 0, 0, 360, 1, -1)
    pixels = framed((np.where(mask[..., None] > 0, pixels, np.float32(CREAM)), []), CREAM, 30, 40, 70, 40)[0]
    turn = cv2.getRotationMatrix2D((150, 180), 3, 1)
    pixels = cv2.warpAffine(pixels, turn, (300, 400), borderMode=cv2.BORDER_REPLICATE)
    corners = np.array([(50, 40), (250.8, 40), (250.8, 320.8), (50, 320.8)]) - 0.4
    return pixels, Area(tuple(map(tuple, np.c_[corners, np.ones(4)] @ turn.T)), (100.0, 140.0))


def rounded(picture: np.ndarray) -> tuple[np.ndarray, Area]:
    """A print with round corners on a black page."""
    pixels, (place,) = print_of(picture)
    height, width = pixels.shape[:2]
    mask = cv2.rectangle(np.zeros((height, width), np.uint8), (24, 24), (width - 25, height - 25), 1, -1)
    mask = cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (49, 49)))
    made = framed((np.where(mask[..., None] > 0, pixels, np.float32(BLACK)), [place]), BLACK, 30, 24, 26, 28)
    return made[0], Area(tuple(map(tuple, made[1][0])), (24.5, 24.5))


def scanned(pixels: np.ndarray) -> torch.Tensor:
    """With the noise and the compression of a scan: (1, 3, H, W)."""
    noisy = pixels + np.random.default_rng(0).normal(0, 0.012, pixels.shape)
    levels = np.rint(noisy.clip(0, 1) * 255).astype(np.uint8)
    levels = cv2.imdecode(cv2.imencode(".jpg", levels, [cv2.IMWRITE_JPEG_QUALITY, 80])[1], cv2.IMREAD_COLOR)
    return torch.from_numpy(levels).permute(2, 0, 1)[None] / 255


def overlap(one: np.ndarray, other: np.ndarray, shape: tuple[int, ...]) -> float:
    """Intersection over union of two quadrilaterals."""
    masks = [np.zeros(shape, np.uint8) for _ in range(2)]
    for mask, place in zip(masks, (one, other), strict=True):
        cv2.fillConvexPoly(mask, np.rint(place * 16 - 8).astype(int), 1, shift=4)
    return float((masks[0] & masks[1]).sum() / (masks[0] | masks[1]).sum())


PICTURES = {"astronaut": data.astronaut, "camera": data.camera, "coffee": data.coffee, "chelsea": data.chelsea}


@pytest.mark.parametrize("picture", PICTURES)
@pytest.mark.parametrize("kind", [bordered, black, instant, slide, tilted, deckled, on_glass, pair])
def test_pictures_are_found_in_frames(kind: Callable[[np.ndarray], Made], picture: str) -> None:
    made, places = kind(PICTURES[picture]())
    found = find_areas(scanned(made))
    assert len(found) == len(places)
    for place in places:
        best = max(found, key=lambda area: overlap(np.array(area.corners), place, made.shape[:2]))
        assert overlap(np.array(best.corners), place, made.shape[:2]) >= 0.97
        assert np.abs(np.array(best.corners) - place).max() <= 0.01 * max(made.shape)


@pytest.mark.parametrize("picture", ["astronaut", "coffee"])
@pytest.mark.parametrize("kind", [oval, rounded])
def test_round_pictures_are_found(kind: Callable[[np.ndarray], tuple[np.ndarray, Area]], picture: str) -> None:
    made, true = kind(PICTURES[picture]())
    (found,) = find_areas(scanned(made))
    assert found.radii == pytest.approx(true.radii, rel=0.15)
    between = np.linalg.norm(found.outline[:, None] - true.outline[None], axis=2).min(1)
    assert between.max() <= 3 + 8 * (found.radii[0] > 60)  # points of the outline are 8 pixels apart
    assert overlap(found.outline, true.outline, made.shape[:2]) >= 0.97


def test_a_large_scan_is_found_to_the_pixel() -> None:
    made, (place,) = instant(data.coffee())
    large = cv2.resize(made, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
    (area,) = find_areas(scanned(large))
    assert np.abs(np.array(area.corners) - 4 * place).max() <= 4


@pytest.mark.parametrize("paper", [CREAM, (1.0, 1.0, 1.0)])
def test_a_pale_sky_ends_where_the_tone_of_its_paper_steps(paper: tuple[float, ...]) -> None:
    random = np.random.default_rng(3)
    pixels, places = print_of(data.astronaut())
    horizon = 110 + cv2.resize(random.normal(0, 25, (1, 9)), (pixels.shape[1], 1), interpolation=cv2.INTER_CUBIC)
    sky = np.arange(len(pixels))[:, None] < horizon
    pixels = np.where(sky[..., None], 0.975 * np.float32(paper), pixels).astype(np.float32)
    scan, (place,) = framed((pixels, places), paper, 20, 18, 21, 19)
    with np.errstate(all="raise"):
        (found,) = find_areas(scanned(scan) if paper == CREAM else torch.from_numpy(scan).permute(2, 0, 1)[None])
    assert np.abs(np.array(found.corners) - place).max() < 3


@pytest.mark.parametrize("font", [cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_SCRIPT_SIMPLEX])
def test_the_foot_of_a_long_caption_is_no_edge(font: int) -> None:
    pixels, (place,) = framed(print_of(data.astronaut()), CREAM, 22, 20, 80, 20)
    written = np.zeros(pixels.shape[:2], np.uint8)
    cv2.putText(written, "Anna, Wien 1911", (40, 377), font, 1.0, 255, 2, cv2.LINE_AA)
    (area,) = find_areas(scanned(pixels * (1 - 0.8 * (written / 255.0).astype(np.float32)[..., None])))
    assert np.abs(np.array(area.corners) - place).max() <= 2


def night() -> np.ndarray:
    """A moon in a black sky."""
    sky = np.full((300, 400, 3), 0.02, np.float32)
    cv2.circle(sky, (200, 140), 60, (0.8, 0.8, 0.75), -1, cv2.LINE_AA)
    return sky


def studio() -> np.ndarray:
    """A vase before a white wall."""
    wall = np.full((400, 300, 3), 0.95, np.float32)
    cv2.ellipse(wall, (150, 230), (60, 120), 0, 0, 360, (0.3, 0.35, 0.5), -1, cv2.LINE_AA)
    return wall


def sea() -> np.ndarray:
    """A level sky over a darker sea."""
    rows = np.where(np.arange(300) < 170, 0.85, 0.35).astype(np.float32)
    return rows[:, None, None].repeat(400, 1).repeat(3, 2)


def snow() -> np.ndarray:
    """A skier in the snow."""
    pixels = np.full((300, 400, 3), 0.93, np.float32)
    pixels[120:200, 180:215] = (0.7, 0.1, 0.1)
    pixels[195:300, 185:195] = pixels[195:300, 200:210] = 0.2
    return pixels


def vignette() -> np.ndarray:
    """A portrait that fades into white paper on all sides."""
    pixels = print_of(data.astronaut())[0]
    mask = cv2.ellipse(np.zeros(pixels.shape[:2], np.float32), (150, 150), (70, 95), 0, 0, 360, 1, -1)
    mask = cv2.GaussianBlur(mask, (0, 0), 18)[..., None]
    return pixels * mask + np.float32(WHITE) * (1 - mask)


def full_moon() -> np.ndarray:
    """A moon that nearly fills the sky."""
    sky = np.full((300, 320, 3), 0.02, np.float32)
    cv2.circle(sky, (160, 150), 120, (0.8, 0.8, 0.75), -1, cv2.LINE_AA)
    return sky


@pytest.mark.parametrize(
    "made", [vignette, full_moon, night, studio, sea, snow, lambda: np.full((200, 300, 3), 0.5, np.float32)]
)
def test_no_frame_is_invented(made: Callable[[], np.ndarray]) -> None:
    assert find_areas(scanned(made())) == ()


@pytest.mark.parametrize("picture", [*PICTURES.values(), data.rocket, data.moon, data.page, data.text, data.brick])
def test_whole_pictures_are_whole(picture: Callable[[], np.ndarray]) -> None:
    assert find_areas(scanned(print_of(picture())[0])) == ()
    assert find_areas(scanned(print_of(picture(), 20)[0])) == ()  # too small to say


def test_an_oval_is_its_middle_not_its_corners() -> None:
    area = Area(((10.0, 20.0), (110.0, 20.0), (110.0, 80.0), (10.0, 80.0)), (50.0, 30.0))
    assert area.box == (10, 20, 110, 80) and area.as_dict()["radii"] == [50.0, 30.0]
    inside = area.inside()[0, 0]
    assert inside.sum().item() == pytest.approx(np.pi * 50 * 30, rel=0.03) and not inside[0, 0] and inside[30, 0]
    round_corners = Area(area.corners, (10.0, 10.0)).inside()[0, 0]
    assert 6000 - round_corners.sum().item() == pytest.approx((4 - np.pi) * 100, abs=40)


def test_areas_by_hand_are_those_of_the_manifest() -> None:
    area = Area(((10.0, 20.0), (110.0, 22.0), (109.0, 80.0), (10.0, 79.0)), (5.0, 5.0))
    assert parsed_areas([area.as_dict()]) == (area,) == parsed_areas([area])
    box = Area(((1.0, 2.0), (30.0, 2.0), (30.0, 40.0), (1.0, 40.0)))
    assert parsed_areas(["1, 2,30,40"]) == parsed_areas([(1, 2, 30, 40)]) == parsed_areas([{"box": [1, 2, 30, 40]}])
    assert (
        areas_by_hand([box], 40, 30) == (box,)
        and parsed_areas("all") == parsed_areas(["all"]) == parsed_areas([]) == ()
    )
    assert parsed_areas([1, 2, 30, 40]) == parsed_areas(np.array([1, 2, 30, 40])) == (box,)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ([(5, 5, 5, 20)], "the area 5,5,5,20 is empty"),
        ([(20, 5, 5, 20)], "is empty"),
        ([(0, 0, 41, 30)], "the area 0,0,41,30 reaches beyond the photo of 40x30 pixels"),
        ([(-2, 0, 20, 30)], "reaches beyond"),
        ([(0, 0, 20, 30), (19, 0, 40, 30)], "the areas 0,0,20,30 and 19,0,40,30 overlap"),
        (["1,2,3"], "no area: '1,2,3'|no area: \\[1.0, 2.0, 3.0\\]"),
        (["left"], "no area: 'left'"),
        ([{"box": [0, 0, 9, float("nan")]}], "no area"),
        ([{"box": [0, 0, 9, 9], "radii": [-1, 2]}], "no area"),
        ([7], "no area: 7"),
        (7, "no areas: 7"),
        ("0,0,9,9", "no areas"),
    ],
)
def test_wrong_areas_are_told_in_a_line(given: object, reason: str) -> None:
    with pytest.raises(PhotoError, match=reason) as told:
        areas_by_hand(given, 30, 40)
    assert "\n" not in str(told.value)


def test_what_is_inside_an_area() -> None:
    straight = Area(((3.2, 2.0), (8.0, 2.1), (8.1, 6.0), (3.0, 5.9)))
    assert straight.box == (3, 2, 8, 6) and straight.inside().all() and straight.inside().shape == (1, 1, 4, 5)
    assert straight.as_dict() == {"box": [3, 2, 8, 6], "corners": [[3.2, 2.0], [8.0, 2.1], [8.1, 6.0], [3.0, 5.9]]}
    tilt = Area(((10.0, 0.0), (50.0, 10.0), (40.0, 50.0), (0.0, 40.0)))
    assert abs(tilt.inside().sum().item() - 1700) < 100 and not tilt.inside()[0, 0, 0, 0]
    frame = outside((straight, tilt), 60, 70)
    assert frame.shape == (1, 1, 60, 70) and frame[..., 50:, :].all() and not frame[..., 2:6, 3:8].any()


def test_round_pictures_are_filled_from_their_inside() -> None:
    pixels = torch.zeros(1, 3, 80, 100)  # a black mount
    area = Area(((10, 10), (90, 10), (90, 70), (10, 70)), (40, 30))
    pixels[area.part] = torch.where(area.inside(), torch.ones(()), pixels[area.part])
    holes = torch.zeros(1, 1, 80, 100)
    holes[..., 30:50, 4:24] = 1  # over the edge of the oval
    pixels.masked_fill_(holes > 0, 0.5)
    inside = area.inside()[0, 0]
    fill_into(mixed := pixels.clone(), holes)
    assert mixed[area.part][:, :, inside].amin() < 0.7  # with the mount
    fill_inside(pixels, holes, (area,), fill_into)
    assert pixels[area.part][:, :, inside].amin() > 0.9
