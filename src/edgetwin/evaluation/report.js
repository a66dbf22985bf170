"use strict";

// The table: a click on a header sorts by it, the better end first; another click turns it round.
for (const table of document.querySelectorAll("table.results")) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const given = head.dataset.first === "descending" ? -1 : 1;
    const direction = head.getAttribute("aria-sort") === (given > 0 ? "ascending" : "descending") ? -given : given;
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
    const value = (row) => row.cells[column].dataset.value === "" ? NaN : Number(row.cells[column].dataset.value);
    const rows = [...body.rows].sort((one, two) => {
      const a = value(one), b = value(two);
      return Number.isNaN(a) || Number.isNaN(b) ? Number.isNaN(a) - Number.isNaN(b) : direction * (a - b);
    });
    body.append(...rows);
  }));
}

// The map. The picture is a function of slot, speed and policy alone, so scrubbing shows what playing shows.
const filmData = document.getElementById("film-data");
if (filmData) startFilm(JSON.parse(filmData.textContent));

function startFilm(data) {
  const canvas = document.getElementById("map"), pen = canvas.getContext("2d");
  const play = document.getElementById("play"), scrub = document.getElementById("scrub"), chosen = document.getElementById("policy");
  const readout = document.getElementById("readout"), speeds = [...document.querySelectorAll(".speeds button")];
  const perSecond = data.slot_s ? 1 / data.slot_s : 20, last = data.slots - 1;
  const arrays = data.arrays.map((text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer);
  const films = data.films.map((film) => ({
    ...film,
    position: new Uint16Array(arrays[film.position]),
    serving: new Uint16Array(arrays[film.serving]),
    host: new Uint16Array(arrays[film.host]),
    flags: new Uint8Array(arrays[film.flags]),
  }));
  const REQUESTING = 1, FAILED = 2, MIGRATING = 4;
  const TRAIL_S = 4, ARROW_S = 0.6, FLASH_S = 0.3;
  let slot = 0, speed = 1, film = films[0], playing = false, before = null, colours = {}, scale = 1, side = 0;

  const [left, bottom, right, top] = data.extent_m;
  const span = Math.max(right - left, top - bottom) || 1;
  const grain = span / 65535;
  const margin = 0.045 * span;
  const place = (x, y) => [(x - left + margin) * scale, (top - y + margin) * scale];

  function readColours() {
    const style = getComputedStyle(document.documentElement);
    for (const name of ["page", "card", "ink", "soft", "line", "grid", "idle", "syncing", "failing", "migrating", "twin", "site"]) {
      colours[name] = style.getPropertyValue("--" + name).trim();
    }
    colours.font = getComputedStyle(document.body).fontFamily;
  }

  function resize() {
    const wide = canvas.clientWidth, high = wide * (top - bottom + 2 * margin) / (right - left + 2 * margin);
    const ratio = window.devicePixelRatio || 1;
    canvas.style.height = high + "px";
    canvas.width = Math.round(wide * ratio);
    canvas.height = Math.round(high * ratio);
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    scale = wide / (right - left + 2 * margin);
    side = wide;
    draw();
  }

  function userAt(user, when) {
    const exact = Math.min(Math.max(when / data.stride, 0), data.frames - 1);
    const frame = Math.floor(exact), part = exact - frame, next = Math.min(frame + 1, data.frames - 1);
    const at = 2 * (frame * data.users + user), after = 2 * (next * data.users + user);
    let x = film.position[at], y = film.position[at + 1];
    const dx = film.position[after] - x, dy = film.position[after + 1] - y;
    if (Math.hypot(dx, dy) < 6554) { x += part * dx; y += part * dy; }   // a jump of a tenth of the map is no movement
    return place(left + x * grain, bottom + y * grain);
  }

  function line(from, to, colour, width, dash, alpha) {
    pen.globalAlpha = alpha;
    pen.strokeStyle = colour;
    pen.lineWidth = width;
    pen.setLineDash(dash);
    pen.beginPath();
    pen.moveTo(...from);
    pen.lineTo(...to);
    pen.stroke();
    pen.setLineDash([]);
    pen.globalAlpha = 1;
  }

  function dot(at, radius, fill, ring) {
    pen.beginPath();
    pen.arc(at[0], at[1], radius, 0, 2 * Math.PI);
    pen.fillStyle = fill;
    pen.fill();
    pen.lineWidth = 1.2;
    pen.strokeStyle = ring;
    pen.stroke();
  }

  function label(text, x, y, colour, size, align) {
    pen.font = size + "px " + colours.font;
    pen.textAlign = align;
    pen.textBaseline = "middle";
    pen.lineWidth = 3.5;
    pen.lineJoin = "round";
    pen.strokeStyle = colours.card;
    pen.strokeText(text, x, y);
    pen.fillStyle = colour;
    pen.fillText(text, x, y);
  }

  function draw() {
    const frame = Math.min(Math.floor(slot / data.stride), data.frames - 1), first = frame * data.users;
    const wide = canvas.clientWidth, high = canvas.clientHeight;
    pen.fillStyle = colours.card;
    pen.fillRect(0, 0, wide, high);
    const sites = film.sites_m.map(([x, y]) => place(x, y));
    const twins = new Array(sites.length).fill(0);
    const users = [];
    const flash = Math.max(1, Math.ceil(FLASH_S * perSecond * speed / data.stride));
    for (let user = 0; user < data.users; user++) {
      let recent = 0;
      for (let back = 0; back < flash && back <= frame; back++) recent |= film.flags[first - back * data.users + user] & FAILED;
      twins[film.host[first + user]] += 1;
      users.push({ at: userAt(user, slot), serving: film.serving[first + user], host: film.host[first + user],
                   flags: film.flags[first + user] | recent });
    }
    // Trails below, then links, sites, users, migrations.
    const trail = TRAIL_S * perSecond, steps = 14;
    for (let user = 0; user < data.users; user++) {
      let from = users[user].at;
      for (let step = 1; step <= steps && slot - step * trail / steps > -trail / steps; step++) {
        const to = userAt(user, Math.max(0, slot - step * trail / steps));
        if (Math.hypot(to[0] - from[0], to[1] - from[1]) < wide / 10) line(from, to, colours.idle, 2, [], 0.5 * (1 - (step - 1) / steps));
        from = to;
      }
    }
    for (const user of users) {
      if (user.host !== user.serving) line(user.at, sites[user.host], colours.twin, 1.2, [5, 4], 0.55);
      if (user.flags & REQUESTING) {
        line(user.at, sites[user.serving], user.flags & FAILED ? colours.failing : colours.syncing, 1.1, [], 0.75);
      }
    }
    const servers = new Set(film.servers);
    sites.forEach(([x, y], site) => {
      pen.fillStyle = pen.strokeStyle = colours.site;
      pen.lineWidth = 2;
      if (servers.has(site)) {
        pen.fillRect(x - 8, y - 8, 16, 16);
      } else {
        pen.beginPath();
        pen.moveTo(x, y - 9);
        pen.lineTo(x + 9, y + 7);
        pen.lineTo(x - 9, y + 7);
        pen.closePath();
        pen.fillStyle = colours.card;
        pen.fill();
        pen.stroke();
      }
    });
    for (const user of users) {
      const failed = user.flags & FAILED, moving = user.flags & MIGRATING;
      const fill = failed ? colours.failing : moving ? colours.migrating : user.flags & REQUESTING ? colours.syncing : colours.idle;
      dot(user.at, failed || moving ? 6.5 : 5, fill, colours.card);
      if (failed) {
        line([user.at[0] - 3, user.at[1] - 3], [user.at[0] + 3, user.at[1] + 3], colours.card, 1.6, [], 1);
        line([user.at[0] - 3, user.at[1] + 3], [user.at[0] + 3, user.at[1] - 3], colours.card, 1.6, [], 1);
      } else if (moving) {
        dot(user.at, 2.2, colours.card, colours.card);
      }
    }
    const shown = ARROW_S * perSecond * speed;
    for (const [when, user, from, to] of film.moves) {
      if (when <= slot && slot - when < shown) arrow(sites[from], sites[to], 1 - 0.7 * (slot - when) / shown);
    }
    sites.forEach(([x, y], site) => {
      if (!servers.has(site)) return;
      const inner = x > wide - 80;
      label(twins[site] + (twins[site] === 1 ? " twin" : " twins"), x + (inner ? -13 : 13), y, colours.ink, 13, inner ? "right" : "left");
    });
    scaleBar(wide, high);
    readout.textContent = "slot " + Math.floor(slot) + " of " + data.slots + (data.slot_s ? " · " + (slot * data.slot_s).toFixed(1) + " s" : "");
    scrub.value = String(Math.floor(slot));
    count(frame);
  }

  function arrow(from, to, alpha) {
    const dx = to[0] - from[0], dy = to[1] - from[1], length = Math.hypot(dx, dy) || 1, bend = 0.16;
    const middle = [(from[0] + to[0]) / 2 - bend * dy, (from[1] + to[1]) / 2 + bend * dx];
    const ux = (to[0] - middle[0]) / Math.hypot(to[0] - middle[0], to[1] - middle[1]) || dx / length;
    const uy = (to[1] - middle[1]) / Math.hypot(to[0] - middle[0], to[1] - middle[1]) || dy / length;
    const tip = [to[0] - 11 * ux, to[1] - 11 * uy];
    pen.globalAlpha = alpha;
    pen.strokeStyle = pen.fillStyle = colours.migrating;
    pen.lineWidth = 3;
    pen.beginPath();
    pen.moveTo(...from);
    pen.quadraticCurveTo(...middle, tip[0] - 6 * ux, tip[1] - 6 * uy);
    pen.stroke();
    pen.beginPath();
    pen.moveTo(...tip);
    pen.lineTo(tip[0] - 11 * ux - 6 * uy, tip[1] - 11 * uy + 6 * ux);
    pen.lineTo(tip[0] - 11 * ux + 6 * uy, tip[1] - 11 * uy - 6 * ux);
    pen.fill();
    pen.globalAlpha = 1;
  }

  function scaleBar(wide, high) {
    const rough = span / 5, ten = 10 ** Math.floor(Math.log10(rough)), metres = [5, 2, 1].find((step) => step * ten <= rough) * ten;
    const x = 14, y = high - 12;
    line([x, y], [x + metres * scale, y], colours.ink, 2, [], 1);
    line([x, y - 4], [x, y + 4], colours.ink, 2, [], 1);
    line([x + metres * scale, y - 4], [x + metres * scale, y + 4], colours.ink, 2, [], 1);
    label(metres >= 1000 ? metres / 1000 + " km" : metres + " m", x + metres * scale + 9, y, colours.ink, 12, "left");
  }

  function count(frame) {
    const show = (name, value) => { document.getElementById("count-" + name).textContent = value; };
    const [requests, failures] = [film.requests[frame], film.failures[frame]];
    show("requests", requests.toLocaleString("en"));
    show("failures", failures.toLocaleString("en") + (requests ? " (" + (100 * failures / requests).toFixed(1) + " %)" : ""));
    show("moves", film.moves.filter((move) => move[0] <= slot).length.toLocaleString("en"));
  }

  function setPlaying(on) {
    if (on && slot >= last) slot = 0;
    playing = on;
    before = null;
    play.textContent = on ? "❚❚ Pause" : "▶ Play";
    play.setAttribute("aria-pressed", String(on));
    if (on) requestAnimationFrame(tick);
  }

  function tick(now) {
    if (!playing) return;
    if (before !== null) slot = Math.min(last, slot + Math.min(now - before, 250) / 1000 * perSecond * speed);
    before = now;
    draw();
    if (slot >= last) setPlaying(false);
    else requestAnimationFrame(tick);
  }

  films.forEach((each, index) => chosen.add(new Option(each.name, String(index))));
  chosen.addEventListener("change", () => { film = films[Number(chosen.value)]; draw(); });
  play.addEventListener("click", (event) => {
    if (event.detail) play.blur();                                     // clicked with a pointer: leave the space bar to the picture
    setPlaying(!playing);
  });
  scrub.max = String(last);
  scrub.addEventListener("input", () => { slot = Number(scrub.value); draw(); });
  speeds.forEach((button) => button.addEventListener("click", (event) => {
    if (event.detail) button.blur();
    speed = Number(button.dataset.speed);
    speeds.forEach((other) => other.setAttribute("aria-pressed", String(other === button)));
    draw();
  }));
  document.addEventListener("keydown", (event) => {
    if (event.code !== "Space" || event.target.closest("button, select, summary, a")) return;
    event.preventDefault();
    setPlaying(!playing);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { readColours(); draw(); });
  new ResizeObserver(() => { if (canvas.clientWidth !== side) resize(); }).observe(canvas);
  if (last < 1) play.disabled = scrub.disabled = true;
  readColours();
  resize();
}
