// Did the draw go as announced, and is my position the one it gives? Computed by the browser alone
// from the published front; the algorithm is described in keys/src/draw.rs.
"use strict";

const DOMAIN = "waiting-room draw v1";
const ROUNDS = 10;
const LANES = ["priority", "standard", "suspect"];
const text = new TextEncoder();

const show = (id, value) => { document.getElementById(id).textContent = value; };

// The page brings its words in the visitor's language.
function words(name, values = {}) {
  const said = document.querySelector(`[data-word="${name}"]`).textContent;
  return said.replace(/\{(\w+)\}/g, (slot, key) => values[key] ?? slot);
}

function say(state, ...said) {
  document.querySelector("main").dataset.state = state;
  show("verdict", said.join(" "));
}

function decode(base64url) {
  const binary = atob(base64url.replaceAll("-", "+").replaceAll("_", "/"));
  return Uint8Array.from(binary, (character) => character.charCodeAt(0));
}

function encode(bytes) {
  const binary = String.fromCharCode(...bytes);
  return btoa(binary).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

function joined(...parts) {
  const all = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

// A whole number of so many bytes, the highest first.
function number(value, bytes) {
  const out = new Uint8Array(bytes);
  let rest = BigInt(value);
  for (let at = bytes - 1; at >= 0; at -= 1) {
    out[at] = Number(rest & 255n);
    rest >>= 8n;
  }
  return out;
}

const counted = (bytes) => joined(number(bytes.length, 4), bytes);

async function hmac(key, message) {
  const imported = await crypto.subtle.importKey(
    "raw", key, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  return new Uint8Array(await crypto.subtle.sign("HMAC", imported, message));
}

// The seed of one lane's order.
function derive(secret, beacon, front, lane, count) {
  return hmac(secret, joined(
    counted(text.encode(DOMAIN)), counted(beacon), counted(text.encode(front.aud)),
    number(front.line, 8), counted(text.encode(lane)), number(count, 8)));
}

// Where `at` of 0 to count - 1 stands: a balanced Feistel network, walked until it is inside.
async function permute(seed, count, at) {
  if (at >= count) return at;
  const half = BigInt(Math.max(1, Math.ceil((count - 1n).toString(2).length / 2)));
  const mask = (1n << half) - 1n;
  for (;;) {
    let [left, right] = [at >> half, at & mask];
    for (let round = 0; round < ROUNDS; round += 1) {
      const digest = await hmac(seed, joined(number(round, 1), number(right, 8)));
      const head = digest.slice(0, 8).reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
      [left, right] = [right, left ^ (head & mask)];
    }
    at = (left << half) | right;
    if (at < count) return at;
  }
}

function describe(beacon, value) {
  switch (beacon.source) {
    case "none":
      return words("drawNothing");
    case "operator":
      return `${beacon.of}: ${value}`;
    default:
      return `${words("drawRound", { n: beacon.round, chain: beacon.chain })}: ${value}`;
  }
}

// The value as it is published elsewhere: a network's in hexadecimal, the operator's as a text.
function readable(beacon, bytes) {
  if (beacon.source === "operator") return new TextDecoder().decode(bytes);
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function check(event) {
  const [published, mine] = await Promise.all([
    fetch(`/api/v1/queue/${event}/front`),
    fetch(`/api/v1/queue/status?event_id=${event}`),
  ]);
  if (!published.ok) throw new Error("nothing is published");
  const { front } = await published.json();
  if (!front.draw) return say("none", words("drawNone"));
  const { commitment, beacon, opened } = front.draw;
  show("commitment", commitment);
  document.getElementById("how").hidden = false;
  if (!opened) {
    show("secret", words("drawNotRevealed"));
    show("beacon", describe(beacon, words("drawNotKnown")));
    return say("unopened", words("drawUnopened"));
  }
  const secret = decode(opened.secret);
  const committed = encode(new Uint8Array(await crypto.subtle.digest("SHA-256", secret)));
  show("secret", opened.secret);
  show("beacon", describe(beacon, readable(beacon, decode(opened.beacon))));
  if (committed !== commitment) {
    return say("broken", words("drawBroken"));
  }
  if (!mine.ok) return say("fair", words("drawNoPlace"));
  const place = await mine.json();
  const count = opened.counts[LANES.indexOf(place.lane)];
  const seed = await derive(secret, decode(opened.beacon), front, place.lane, count);
  const position = await permute(seed, BigInt(count), BigInt(place.num) - 1n) + 1n;
  show("num", place.num);
  show("position", position);
  show("count", count);
  document.getElementById("facts").hidden = false;
  // Another edge may not have heard of the opening yet; then we were told nothing.
  if (place.position !== null && place.position !== Number(position)) {
    return say("broken", words("drawOther", { told: place.position, n: position }));
  }
  const late = place.num > count ? [words("drawLate")] : [];
  return say("fair", words("drawFair"), ...late);
}

check(document.querySelector("main").dataset.event).catch(() => {
  say("failed", words("drawFailed"));
});
