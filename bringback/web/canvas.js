// The photo, its damage and its result on a canvas. `props.value` is JSON from the server, see `canvas.shown`; strokes go
// to the server by `server.draw`, one request at a time. Coordinates of strokes are pixels of the photo.
const $ = (which) => element.querySelector(which);
const stage = $(".bb-stage"), canvas = $("canvas"), context = canvas.getContext("2d");
const brush = $("[data-brush]"), view = $("[data-view]"), split = $("[data-split]"), said = $("[data-said]");
const BLUE = "rgb(0, 110, 255)", ORANGE = "rgb(255, 80, 0)", FAINT = 0.55, NEAR = 14;

let photo = null;        // what the server said last
let before = null, found = null, after = null;  // image, image, canvas
let overlay = null;      // canvas: what was found, and the strokes
let strokes = [], undone = [], inResult = 0;    // inResult: how many of the strokes the result has
let erasing = false, live = null, held = false, blinking = false;
let zoom = 1, left = 0, top_ = 0;  // CSS pixels a pixel of the photo, and where its corner is
let areas = null, arranging = false, corner = [0, 2], grabbed = null, moved = null;  // areas by hand, null: as found
let paned = false;       // whether there were two panes when the photo was last fitted
let pointer = null, pan = null, pinch = null, spaced = false, dragsDivider = false;
const touches = new Map();
const unsent = new Map();  // by number of the photo: what the server has not answered yet
let sending = false;
const arrangedIn = new Set();  // photos whose areas were changed by what is on its way

// ---- where the picture is: areas as on the server, { corners, radii } in pixels of the photo, one with a marked corner

const areasNow = () => areas ?? photo.areas;
const onCanvas = ([x, y]) => [left + x * zoom, top_ + y * zoom];
const bounds = (points) => [Math.min, Math.max].map((most) => [0, 1].map((k) => most(...points.map((one) => one[k]))));

function outline({ corners, radii }) {  // as `Area.outline` is
  const side = (k) => Math.hypot(...[0, 1].map((at) => corners[k][at] - corners[(k + 1) % 4][at]));
  const [across, down] = radii.map((radius, k) => Math.min(0.5, 2 * radius / Math.max(1, side(k) + side(k + 2))));
  if (Math.min(across, down) <= 0) return corners;
  const turns = Array.from({ length: 24 }, (_, step) => step / 23 * Math.PI / 2);
  const first = turns.map((turn) => [across * (1 - Math.cos(turn)), down * (1 - Math.sin(turn))]);
  const back = [...first].reverse();
  return [...first, ...back.map(([u, v]) => [1 - u, v]), ...first.map(([u, v]) => [1 - u, 1 - v]), ...back.map(([u, v]) => [u, 1 - v])]
    .map(([u, v]) => [0, 1].map((at) => (1 - v) * ((1 - u) * corners[0][at] + u * corners[1][at])
      + v * ((1 - u) * corners[3][at] + u * corners[2][at])));
}

function path(points) {
  const made = new Path2D();
  for (const point of points) made.lineTo(...onCanvas(point));
  made.closePath();
  return made;
}

function cornerAt(x, y) {
  let best = null, nearest = NEAR;
  areasNow().forEach(({ corners }, number) => corners.forEach((one, k) => {
    const [cx, cy] = onCanvas(one), far = Math.hypot(x - cx, y - cy);
    if (far <= nearest) { nearest = far; best = [number, k]; }
  }));
  return best;
}

function areaAt(x, y) {
  const ratio = window.devicePixelRatio || 1;
  return areasNow().findIndex((area) => context.isPointInPath(path(outline(area)), x * ratio, y * ratio));
}

function grab(x, y) {  // on the canvas: a corner, an area, or where a new one begins
  const there = cornerAt(x, y), inside = areaAt(x, y), at = place(x, y);
  const before = areas;
  if (there) corner = there;
  else if (inside >= 0) corner = [inside, corner[0] == inside ? corner[1] : 2];
  else newArea([...at, at[0] + 1, at[1] + 1]);
  grabbed = { before, area: areasNow()[corner[0]], at, whole: !there && inside >= 0 };
}

function change(next) {
  areas = areasNow().map((one, number) => number == corner[0] ? next : one);
  draw();
}

function moveCorner(x, y) {  // to a place in the photo; the opposite one stays, and the sides keep their directions
  const { corners, radii } = grabbed.area, k = corner[1], [far, one, other] = [2, 1, 3].map((by) => corners[(k + by) % 4]);
  const [[ax, ay], [bx, by]] = [one, other].map((to) => [to[0] - far[0], to[1] - far[1]]);
  const to = [Math.max(0, Math.min(photo.width, x)) - far[0], Math.max(0, Math.min(photo.height, y)) - far[1]];
  const whole = ax * by - ay * bx, s = (to[0] * by - to[1] * bx) / whole, t = (ax * to[1] - ay * to[0]) / whole;
  const next = [...corners];
  [[s, t], [s, 0], [0, t]].forEach(([s, t], at) => {
    next[(k + [0, 1, 3][at]) % 4] = [far[0] + s * ax + t * bx, far[1] + s * ay + t * by].map(Math.round);
  });
  const shares = k % 2 ? [s, t] : [t, s];  // the first side and the third are those of `one` at odd corners
  change({ corners: next, radii: radii.map((radius, at) => radius * Math.abs(shares[at])) });
}

function moveArea(x, y) {
  const { corners, radii } = grabbed.area, [low, high] = bounds(corners), room = [photo.width, photo.height];
  const by = [x, y].map((to, k) => Math.round(Math.max(-low[k], Math.min(room[k] - high[k], to - grabbed.at[k]))));
  change({ corners: corners.map((one) => [one[0] + by[0], one[1] + by[1]]), radii });
}

function ordered({ corners, radii }) {  // clockwise from the top left, though it was turned over
  let [a, b, c, d] = corners;
  if ((b[0] - a[0]) * (c[1] - b[1]) < (b[1] - a[1]) * (c[0] - b[0])) [a, b, c, d] = [b, a, d, c];
  if (a[0] + a[1] > c[0] + c[1]) [a, b, c, d] = [c, d, a, b];
  return { corners: [a, b, c, d], radii };
}

function arranged() {  // let go: what is turned over is put right, what is too small taken back, and the server told
  clearTimeout(moved);
  const marked = areasNow()[corner[0]]?.corners[corner[1]];
  const small = ({ corners: [a, b, c] }) => Math.min(Math.hypot(a[0] - b[0], a[1] - b[1]), Math.hypot(b[0] - c[0], b[1] - c[1])) < 8;
  if (grabbed && areas?.some(small)) areas = grabbed.before;
  areas = areas?.map(ordered) ?? null;
  moved = grabbed = null;
  const number = Math.max(0, Math.min(areasNow().length - 1, corner[0]));
  const now = areasNow()[number]?.corners.findIndex((one) => one[0] == marked?.[0] && one[1] == marked?.[1]) ?? -1;
  corner = [number, now < 0 ? 2 : now];
  draw();
  send(true);
}

function newArea(box) {
  const [x0, y0, x1, y1] = box.map(Math.round);
  areas = [...areasNow(), { corners: [[x0, y0], [x1, y0], [x1, y1], [x0, y1]], radii: [0, 0] }];
  corner = [areas.length - 1, 2];
}

function addArea() {  // the largest free one of these: in the middle, a half of the photo, a quarter of it
  const taken = areasNow().map(({ corners }) => bounds(corners)), at = (u, v) => [u * photo.width, v * photo.height];
  const free = ([x0, y0, x1, y1]) => taken.every(([low, high]) => x1 <= low[0] || high[0] <= x0 || y1 <= low[1] || high[1] <= y0);
  const of = (across, down) => Array.from({ length: across * down }, (_, number) => {
    const u = number % across, v = Math.floor(number / across);
    return [...at((u + 0.1) / across, (v + 0.1) / down), ...at((u + 0.9) / across, (v + 0.9) / down)];
  });
  const middle = [...at(0.2, 0.2), ...at(0.8, 0.8)];
  newArea([middle, ...of(2, 1), ...of(1, 2), ...of(2, 2), ...of(4, 4)].find(free) ?? middle);
}

function paintAreas() {
  const all = areasNow();
  context.save();
  const dim = new Path2D();
  dim.rect(left, top_, photo.width * zoom, photo.height * zoom);
  for (const area of all) dim.addPath(path(outline(area)));
  context.fillStyle = "rgba(0, 0, 0, 0.45)";
  if (all.length) context.fill(dim, "evenodd");
  all.forEach((area, number) => {
    context.lineWidth = 2;
    context.strokeStyle = number == corner[0] ? "white" : "#cccccc";
    context.stroke(path(outline(area)));
    context.lineWidth = 1;
    if (Math.max(...area.radii) > 0) context.stroke(path(area.corners));
    area.corners.forEach((one, k) => {
      const [x, y] = onCanvas(one), held = number == corner[0] && k == corner[1];
      context.fillStyle = held ? "#0b57d0" : "white";
      context.strokeStyle = held ? "white" : "black";
      context.fillRect(x - 6, y - 6, 12, 12);
      context.strokeRect(x - 6, y - 6, 12, 12);
    });
  });
  context.restore();
}

// ---- what is shown

const shows = () => held ? "original" : !after ? "before" : view.value == "blink" ? (blinking ? "before" : "after") : view.value;
const wide = () => shows() == "panes" ? canvas.clientWidth / 2 : canvas.clientWidth;

function layer(width, height) {
  const made = document.createElement("canvas");
  made.width = width; made.height = height;
  return made;
}

function picture(url) {
  return new Promise((done) => {
    if (!url) return done(null);
    const image = new Image();
    image.onload = () => done(image);
    image.onerror = () => done(null);
    image.src = url;
  });
}

function line(onto, stroke, from) {
  const scale = overlay.width / photo.width;
  const pen = onto.getContext("2d"), points = stroke.points.slice(Math.max(0, from));
  pen.globalCompositeOperation = stroke.erases ? "destination-out" : "source-over";
  pen.strokeStyle = pen.fillStyle = BLUE;
  pen.lineWidth = Math.max(1, stroke.width * scale);
  pen.lineCap = pen.lineJoin = "round";
  pen.beginPath();
  pen.moveTo(points[0][0] * scale, points[0][1] * scale);
  for (const [x, y] of points) pen.lineTo(x * scale, y * scale);
  pen.stroke();
  pen.globalCompositeOperation = "source-over";
}

function redrawOverlay() {
  const pen = overlay.getContext("2d"), result = shows() != "before" && shows() != "original" && after;
  pen.clearRect(0, 0, overlay.width, overlay.height);
  if (found && !result) pen.drawImage(found, 0, 0, overlay.width, overlay.height);
  for (const stroke of strokes.slice(result ? inResult : 0)) if (!result || !stroke.erases) line(overlay, stroke, 0);
  draw();
}

function put(image, clip) {  // clip: [x, y, width, height] in CSS pixels
  context.save();
  context.beginPath();
  context.rect(...clip);
  context.clip();
  context.drawImage(image, left + clip[4], top_, photo.width * zoom, photo.height * zoom);
  context.restore();
}

let asked = false;
function draw() {
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => { asked = false; paint(); });
}

function paint() {
  const ratio = window.devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  if (!photo || !before) return;
  context.imageSmoothingEnabled = zoom * photo.width / before.naturalWidth < 3;
  const now = shows(), whole = [0, 0, width, height, 0];
  if (now == "slider") {
    const at = width * split.value / 100;
    put(before, [0, 0, at, height, 0]);
    put(after, [at, 0, width - at, height, 0]);
    context.fillStyle = "white";
    context.strokeStyle = "black";
    context.fillRect(at - 1.5, 0, 3, height);
    context.strokeRect(at - 2, -1, 4, height + 2);
  } else if (now == "panes") {
    put(before, [0, 0, width / 2, height, 0]);
    put(after, [width / 2, 0, width / 2, height, width / 2]);
  } else {
    put(now == "after" ? after : before, whole);
  }
  if (now != "original") {
    context.globalAlpha = FAINT;
    put(overlay, now == "panes" ? [width / 2, 0, width / 2, height, width / 2] : whole);
    context.globalAlpha = 1;
  }
  context.lineWidth = 2;
  if (arranging && now == "before") paintAreas();
  else if (now == "before" || now == "original") for (const area of areasNow()) {  // seen on white, and on black
    context.strokeStyle = "black";
    context.stroke(path(outline(area)));
    context.setLineDash([8, 6]);
    context.strokeStyle = "white";
    context.stroke(path(outline(area)));
    context.setLineDash([]);
  }
  if (pointer && !pan && !dragsDivider && !arranging && now != "original") {
    context.beginPath();
    context.arc(pointer[0], pointer[1], brush.value / 2, 0, 7);
    context.lineWidth = 1;
    context.strokeStyle = "black";
    context.stroke();
    context.beginPath();
    context.arc(pointer[0], pointer[1], brush.value / 2 + 1, 0, 7);
    context.strokeStyle = "white";
    context.stroke();
  }
}

function fit() {
  paned = shows() == "panes";
  zoom = Math.min(wide() / photo.width, canvas.clientHeight / photo.height);
  left = (wide() - photo.width * zoom) / 2;
  top_ = (canvas.clientHeight - photo.height * zoom) / 2;
  draw();
}

function resize() {  // as large as the window allows, in the shape of the photo
  if (!photo || !stage.clientWidth) return;
  const phone = window.innerWidth < 700;
  const above = stage.getBoundingClientRect().top + window.scrollY;
  const room = phone ? window.innerHeight * 0.6 : window.innerHeight - above - 160;
  const height = Math.max(160, Math.min(room, stage.clientWidth * photo.height / photo.width));
  stage.style.height = `${Math.round(height)}px`;
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(stage.clientWidth * ratio);
  canvas.height = Math.round(height * ratio);
  fit();
}

function zoomTo(wanted, x, y) {
  const least = Math.min(wide() / photo.width, canvas.clientHeight / photo.height);
  const next = Math.max(least, Math.min(wanted, Math.max(8, least * 8)));
  left = x - (x - left) * next / zoom;
  top_ = y - (y - top_) * next / zoom;
  zoom = next;
  hold();
}

function hold() {  // the photo stays in sight
  const inside = (at, size, room) => size <= room ? (room - size) / 2 : Math.min(0, Math.max(room - size, at));
  left = inside(left, photo.width * zoom, wide());
  top_ = inside(top_, photo.height * zoom, canvas.clientHeight);
  draw();
}

function buttons() {
  const press = (name, on) => $(`[data-do=${name}]`).setAttribute("aria-pressed", on);
  press("paint", !erasing && !arranging);
  press("erase", erasing && !arranging);
  press("areas", arranging);
  $("[data-areas]").hidden = !arranging;
  $("[data-do=undo]").disabled = !strokes.length;
  $("[data-do=redo]").disabled = !undone.length;
  view.disabled = $("[data-do=original]").disabled = !after;
  if (!after) view.value = "before";
  $("[data-divider]").hidden = view.value != "slider";
}

function show(which) {
  view.value = which;
  if (which != "before") arranging = false;
  buttons();
  if (!photo) return;
  if (paned != (which == "panes")) { paned = which == "panes"; fit(); }  // both panes show the whole photo
  else hold();
  redrawOverlay();
}

// ---- strokes

function place(x, y) {
  const shift = shows() == "panes" && x > wide() ? wide() : 0;
  const exact = (value) => Math.round(value * 100) / 100;
  return [exact((x - shift - left) / zoom), exact((y - top_) / zoom)];
}

function begin(x, y) {
  if (erasing && shows() != "before") show("before");  // what is erased is seen there only
  live = { erases: erasing, width: brush.value / zoom, points: [place(x, y)] };
  line(overlay, live, 0);
  draw();
}

function go(x, y) {
  const next = place(x, y), last = live.points[live.points.length - 1];
  if (Math.hypot(next[0] - last[0], next[1] - last[1]) * zoom < 0.7) return;  // mice tell a thousand places a second
  live.points.push(next);
  line(overlay, live, live.points.length - 2);
  draw();
}

function end() {
  strokes.push(live);
  live = null;
  undone = [];
  send();
}

function undo() {
  if (!strokes.length) return;
  undone.push(strokes.pop());
  redrawOverlay();
  send();
}

function redo() {
  if (!undone.length) return;
  strokes.push(undone.pop());
  redrawOverlay();
  send();
}

async function send(areasToo = false) {
  buttons();
  if (areasToo) arrangedIn.add(photo.photo);
  else if (after && strokes.length > inResult && !strokes[strokes.length - 1].erases) said.textContent = "Mending ...";
  unsent.delete(photo.photo);  // to be the last, which is sent first: what is on display
  unsent.set(photo.photo, { desk: photo.desk, photo: photo.photo, strokes: [...strokes], areas, look: arranging && !photo.looked });
  if (sending) return;
  sending = true;
  try {
    while (unsent.size) {
      const [number, one] = [...unsent].pop();
      const answer = await server.draw(one);
      if (unsent.get(number) === one) unsent.delete(number);
      const images = await Promise.all(answer.patches.map(({ url }) => picture(url)));
      if (photo?.photo != number) continue;  // another one is shown by now
      if (after) answer.patches.forEach(({ box }, at) => {
        const scale = after.width / photo.width;
        if (images[at]) after.getContext("2d").drawImage(images[at], ...box.map((value) => value * scale));
      });
      if (answer.areas) Object.assign(photo, { areas: answer.areas, looked: true });
      inResult = answer.done;
      said.textContent = answer.said;
    }
  } catch (error) {
    said.textContent = "The server does not answer: load the page again";
  }
  sending = false;
  if (photo && !live) redrawOverlay();
  trigger("drawn");
  if (photo && arrangedIn.has(photo.photo)) trigger("moved");
  arrangedIn.clear();
}

// ---- what the server shows

async function take() {
  const told = props.value ? JSON.parse(props.value) : null;
  if (!told || !told.photo) { photo = null; said.textContent = ""; draw(); return; }
  const same = photo && photo.desk == told.desk && photo.photo == told.photo;
  photo = told;
  const [one, two, three] = await Promise.all([told.before, told.found, told.after].map(picture));
  if (photo !== told) return;
  before = one;
  found = two;
  after = three && layer(three.naturalWidth, three.naturalHeight);
  if (after) after.getContext("2d").drawImage(three, 0, 0);
  overlay = layer(one.naturalWidth, one.naturalHeight);
  if (!same || !live) strokes = [...(unsent.get(told.photo) ?? told).strokes];  // what is on its way is newer
  inResult = told.done;
  if (!moved && !grabbed) areas = unsent.has(told.photo) ? unsent.get(told.photo).areas : told.byHand;
  if (!same) { undone = []; said.textContent = ""; corner = [0, 2]; arranging = false; }
  else if (!unsent.has(told.photo)) said.textContent = "";  // it is over
  canvas.setAttribute("aria-label", told.label);
  canvas.dataset.photo = told.photo;
  if (told.view && !(arranging && same)) view.value = told.view;  // or the next corner could not be dragged
  buttons();
  if (same && canvas.height > 160) hold(); else resize();
  redrawOverlay();
}

// ---- mouse, fingers, keys

const at = (event) => {
  const box = canvas.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
};
const divider = () => canvas.clientWidth * split.value / 100;

canvas.addEventListener("pointerdown", (event) => {
  if (!photo || !before) return;
  canvas.setPointerCapture(event.pointerId);
  canvas.focus({ preventScroll: true });
  const [x, y] = at(event);
  pointer = event.pointerType == "touch" ? null : [x, y];
  touches.set(event.pointerId, [x, y]);
  if (touches.size == 2) {  // two fingers: no stroke, but zoom and pan
    live = null;
    if (grabbed) { areas = grabbed.before; grabbed = null; }
    redrawOverlay();
    pinch = fingers();
  } else if (event.button == 1 || event.button == 2 || spaced) {
    pan = [x, y];
  } else if (shows() == "slider" && Math.abs(x - divider()) < NEAR) {
    dragsDivider = true;
  } else if (arranging && touches.size == 1 && shows() == "before") {
    clearTimeout(moved);
    moved = null;
    grab(x, y);
    draw();
  } else if (touches.size == 1 && shows() != "original") {
    begin(x, y);
  }
  event.preventDefault();
});

const fingers = () => {
  const [[x0, y0], [x1, y1]] = [...touches.values()];
  return { x: (x0 + x1) / 2, y: (y0 + y1) / 2, apart: Math.hypot(x1 - x0, y1 - y0) || 1 };
};

canvas.addEventListener("pointermove", (event) => {
  if (!photo) return;
  const [x, y] = at(event);
  if (event.pointerType != "touch") pointer = [x, y];
  if (touches.has(event.pointerId)) touches.set(event.pointerId, [x, y]);
  if (pinch && touches.size == 2) {
    const now = fingers();
    left += now.x - pinch.x;
    top_ += now.y - pinch.y;
    zoomTo(zoom * now.apart / pinch.apart, now.x, now.y);
    pinch = now;
  } else if (pan) {
    left += x - pan[0];
    top_ += y - pan[1];
    pan = [x, y];
    hold();
  } else if (grabbed && touches.size) {
    (grabbed.whole ? moveArea : moveCorner)(...place(x, y));
  } else if (dragsDivider) {
    split.value = 100 * x / canvas.clientWidth;
  } else if (live) {
    for (const one of event.getCoalescedEvents?.() ?? [event]) go(...at(one));
  }
  if (arranging) canvas.style.cursor = pan || spaced ? "grab" : cornerAt(x, y) ? "pointer" : areaAt(x, y) >= 0 ? "move" : "crosshair";
  else canvas.style.cursor = pan || spaced ? "grab" : shows() == "slider" && Math.abs(x - divider()) < NEAR ? "ew-resize" : "none";
  draw();
});

function lift(event) {
  touches.delete(event.pointerId);
  if (touches.size < 2) pinch = null;
  pan = null;
  dragsDivider = false;
  if (grabbed && !moved) arranged();
  if (live) end();
  draw();
}
canvas.addEventListener("pointerup", lift);
canvas.addEventListener("pointercancel", (event) => { live = null; lift(event); if (photo) redrawOverlay(); });
canvas.addEventListener("pointerleave", () => { pointer = null; draw(); });
canvas.addEventListener("contextmenu", (event) => event.preventDefault());
canvas.addEventListener("wheel", (event) => {
  if (!photo) return;
  event.preventDefault();
  if (event.ctrlKey || event.metaKey) zoomTo(zoom * Math.exp(-event.deltaY / 300), ...at(event));
  else size(event.deltaY < 0 ? 2 : -2);
}, { passive: false });

function size(by) {
  brush.value = Number(brush.value) + by;
  draw();
}

function original(on) {
  if (held == on || !photo) return;
  held = on;
  draw();
}

const middle = () => [wide() / 2, canvas.clientHeight / 2];
const deeds = {
  paint: () => { erasing = arranging = false; buttons(); draw(); },
  erase: () => { erasing = true; arranging = false; if (view.value != "before") show("before"); buttons(); },
  undo, redo,
  areas: () => {
    arranging = !arranging;
    said.textContent = arranging && !photo.looked ? "Looking for the picture ..." : "";
    if (arranging) show("before"); else { buttons(); draw(); }
    if (arranging && !photo.looked) send();
  },
  add: () => { addArea(); arranged(); },
  drop: () => { areas = areasNow().filter((_, number) => number != corner[0]); arranged(); },
  auto: () => { areas = null; arranged(); },
  out: () => zoomTo(zoom / 1.4, ...middle()),
  in: () => zoomTo(zoom * 1.4, ...middle()),
  fit,
  original: () => {},
};
element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-do]");
  if (button && photo) deeds[button.dataset.do]();
});
for (const [name, on] of [["pointerdown", true], ["pointerup", false], ["pointerleave", false], ["blur", false]])
  $("[data-do=original]").addEventListener(name, () => original(on));
view.addEventListener("change", () => show(view.value));
split.addEventListener("input", draw);
brush.addEventListener("input", draw);

const keys = { a: "areas", b: "paint", e: "erase", "+": "in", "=": "in", "-": "out", 0: "fit" };
const moves = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
document.addEventListener("keydown", (event) => {
  const on = document.activeElement, ours = element.contains(on);
  if (!photo || !(ours || on == document.body)) return;  // typed elsewhere
  const key = event.key.length == 1 ? event.key.toLowerCase() : event.key;
  if (event.ctrlKey || event.metaKey) {
    if (key == "z") (event.shiftKey ? redo : undo)();
    else if (key == "y") redo();
    else return;
  } else if (event.altKey) return;
  else if (key == "[" || key == "]") size(key == "]" ? 3 : -3);
  else if (key == "o" || (on == $("[data-do=original]") && (key == " " || key == "Enter"))) original(true);
  else if (key == " " && (on == canvas || on == document.body)) spaced = true;
  else if (arranging && on == canvas && key in moves && areasNow().length) {  // the marked corner
    const step = (event.shiftKey ? 1 : 10) / zoom, area = areasNow()[corner[0]], [x, y] = area.corners[corner[1]];
    grabbed ??= { before: areas, area };
    moveCorner(x - step * moves[key][0], y - step * moves[key][1]);
    clearTimeout(moved);
    moved = setTimeout(arranged, 700);
  }
  else if (arranging && on == canvas && key == "n" && areasNow().length) {  // the next corner
    const next = 4 * corner[0] + corner[1] + 1;
    if (moved) arranged();
    corner = [Math.floor(next / 4) % areasNow().length, next % 4];
    draw();
  }
  else if (arranging && on == canvas && key == "Delete") deeds.drop();
  else if (on == canvas && key in moves) { left += 40 * moves[key][0]; top_ += 40 * moves[key][1]; hold(); }
  else if (key in keys && on != view) deeds[keys[key]]();
  else return;
  event.preventDefault();
});
document.addEventListener("keyup", (event) => {
  if (event.key == " ") spaced = false;
  original(false);
});
window.addEventListener("blur", () => { spaced = false; original(false); });
new ResizeObserver(() => { if (stage.clientWidth) resize(); }).observe(element);
window.addEventListener("resize", resize);
setInterval(() => {
  if (view.value != "blink" || !after || held) return;
  blinking = !blinking;
  draw();
}, 700);
watch("value", take);
take();
