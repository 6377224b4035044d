// The page asks the service and shows what it says. It judges nothing itself: a value that is no
// number goes to the service as it was typed, whose refusal is shown at the field.

const PATIENCE_MS = 15_000;
const LOOK_MS = 5_000;
const KEY = "heart-api-key";
const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)$/;
const NARROW = 0.15; // of the scale: a zone that has no room for its word
const VISIBLE = 0.0005; // a contribution that rounds to at least 0.1 points

const $ = (id) => document.getElementById(id);
const form = $("patient");
const fields = new Map([...form.querySelectorAll("[data-field]")].map((box) => [box.dataset.field, box]));

let card = null; // what GET /model says, of the version that is shown
let sent = null; // the body that the answer on the page is for
let afterKey = null; // what to do again once there is a key
let looking = null; // the timer of the next look for a model

// Asking

class Refusal extends Error {
  constructor(message, { status = null, field = null, requestId = null } = {}) {
    super(message);
    Object.assign(this, { status, field, requestId });
  }

  get needsKey() {
    return this.status === 401 || this.status === 403;
  }
}

async function ask(path, body) {
  const headers = {};
  const key = sessionStorage.getItem(KEY);
  if (key) headers.Authorization = `Bearer ${key}`;
  if (body) headers["Content-Type"] = "application/json";
  let answer, text;
  try {
    answer = await fetch(path, {
      method: body ? "POST" : "GET",
      body,
      headers,
      cache: "no-store",
      signal: AbortSignal.timeout(PATIENCE_MS),
    });
    text = await answer.text();
  } catch (error) {
    throw new Refusal(
      error.name === "TimeoutError"
        ? `The service has not answered within ${PATIENCE_MS / 1000} seconds. Try again.`
        : "The service cannot be reached. Is the network there, and is the service running?",
    );
  }
  const content = parse(text);
  if (answer.ok && content) return content;
  throw refusal(answer, content?.error);
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null; // what stands before the service has errors of its own, which are not JSON
  }
}

function refusal(answer, error) {
  const { status } = answer;
  if (!error) return new Refusal(`The service cannot answer now (status ${status}). Try again.`, { status });
  const wait = Number(answer.headers.get("Retry-After"));
  const again = wait > 0 ? ` Try again in ${wait === 1 ? "a second" : `${wait} seconds`}.` : "";
  return new Refusal(sentence(error.message) + again, {
    status,
    field: error.field,
    requestId: error.request_id,
  });
}

// The form

function read() {
  const patient = {};
  for (const [name, value] of new FormData(form)) {
    const text = value.trim();
    if (text) patient[name] = number(fields.get(name), text) ?? text;
  }
  return patient;
}

function number(box, text) {
  const value = isMeasure(box) && NUMBER.test(text) ? Number(text) : NaN;
  return Number.isFinite(value) ? value : null;
}

function isMeasure(box) {
  return box.matches("div");
}

function fillExample() {
  form.reset();
  for (const input of form.querySelectorAll("[data-example]")) {
    if (input.type === "radio") input.checked = true;
    else input.value = input.dataset.example;
  }
  say("The form holds an example now.");
}

function showWrong(name, message) {
  const box = fields.get(name);
  const place = $(`${name}-wrong`);
  place.textContent = message;
  place.hidden = false;
  (isMeasure(box) ? box.querySelector("input") : box).setAttribute("aria-invalid", "true");
  (box.querySelector("input:checked") ?? box.querySelector("input")).focus();
}

function clearWrong() {
  for (const place of form.querySelectorAll(".wrong")) {
    place.textContent = ""; // it describes its field to a screen reader, even hidden
    place.hidden = true;
  }
  for (const wrong of form.querySelectorAll("[aria-invalid]")) wrong.removeAttribute("aria-invalid");
}

async function submit() {
  if (form.ariaBusy === "true") return;
  const body = JSON.stringify(read());
  form.ariaBusy = "true";
  clearWrong();
  say("Asking the service.");
  try {
    const answer = await ask("explain", body);
    await matchCard(answer);
    sent = body;
    showAnswer(answer, JSON.parse(body));
  } catch (problem) {
    if (!(problem instanceof Refusal)) throw problem;
    showProblem(problem);
  } finally {
    form.ariaBusy = "false";
  }
}

// The card of another version would give the answer the wrong bounds and calibration.
async function matchCard({ model_version: version }) {
  if (card?.model_version === version) return;
  try {
    card = await ask("model");
  } catch (problem) {
    if (!(problem instanceof Refusal)) throw problem;
    card = null;
  }
  if (card?.model_version !== version) card = null;
  showModel();
}

// What goes wrong

function showProblem(problem) {
  show("empty");
  sent = null;
  say("");
  if (problem.needsKey) return askForKey(why(problem), submit);
  if (fields.has(problem.field)) return showWrong(problem.field, problem.message);
  const id = problem.requestId && element("p", { className: "hint" }, `Request ${problem.requestId}`);
  $("problem").replaceChildren(element("p", {}, problem.message), ...(id ? [id] : []));
  show("problem");
  $("problem").focus();
}

function askForKey(why, then) {
  afterKey = then;
  say("");
  $("key-why").textContent = why;
  $("key").hidden = false;
  $("key-value").focus();
}

function why(problem) {
  return sessionStorage.getItem(KEY) ? problem.message : "This service answers who has an API key.";
}

async function takeKey() {
  const key = $("key-value").value.trim();
  if (!/^[\x21-\x7e]+$/.test(key)) return askForKey("A key is one word of letters, digits and signs.", afterKey);
  sessionStorage.setItem(KEY, key);
  $("key-value").value = "";
  $("key").hidden = true;
  $("patient-title").focus(); // the field that had it is gone
  say("Trying the key.");
  const again = afterKey;
  await again();
  if (again === look && card) say("The key is accepted.");
}

async function look() {
  clearTimeout(looking);
  try {
    card = await ask("model");
    $("state").hidden = true;
  } catch (problem) {
    if (!(problem instanceof Refusal)) throw problem;
    if (problem.needsKey) return askForKey(why(problem), look);
    tellState(`${problem.message} This page looks again by itself.`);
    looking = setTimeout(look, LOOK_MS);
  }
  showModel();
}

function tellState(message) {
  if ($("state").textContent !== message) $("state").textContent = message;
  $("state").hidden = false;
}

// The answer

function showAnswer(answer, patient) {
  const found = similar(answer.probability);
  const bounds = card?.metadata.bounds;
  $("percent").textContent = percent(answer.probability);
  $("percent").classList.toggle("long", $("percent").textContent.length > 3);
  drawScale(answer.probability, bounds, found);
  $("similar").textContent = found ? compare(found) : "How often it comes true is not known of this model.";
  $("decision").textContent = `Decision: ${answer.decision}`;
  $("meaning").textContent = meaning(answer.decision, bounds);
  list("outside", answer.warnings.map(named));
  list("imputed", answer.imputed.map(label));
  showWhy(answer, patient);
  $("source").textContent = `Answered by version ${answer.model_version}, run ${answer.run_id}.`;
  show("answer");
  markStale();
  say(`Probability ${percent(answer.probability)}, decision ${answer.decision}.`);
  $("result-title").focus();
}

// The tenth of the patients, each predicted by a model that had not seen them, that is nearest.
function similar(probability) {
  const bins = (card?.evaluation.assessment?.bins ?? []).filter((bin) => bin.interval);
  const far = (bin) => Math.abs(bin.predicted - probability);
  return bins.reduce((best, bin) => (best && far(best) <= far(bin) ? best : bin), null);
}

function compare({ n, predicted, interval: { value, low, high } }) {
  const observed = `${share(value)} had such a narrowing (95% interval ${share(low)} to ${share(high)})`;
  const which = `the training data that is nearest by probability (${n} patients, ${share(predicted)} on average)`;
  const hospital = recalibrated() ? " These counts are of the model before its recalibration for a hospital." : "";
  return `In the tenth of ${which}, ${observed}. Each was judged by a model that had not seen the patient.${hospital}`;
}

function meaning(decision, bounds) {
  if (!bounds) return "";
  const rate = share(bounds.error_rate);
  return {
    low: `A narrowing is excluded at an error rate of ${rate}: among patients like those of the training data, at most ${rate} of those who have one are called low.`,
    high: `The absence of a narrowing is excluded at an error rate of ${rate}: among patients like those of the training data, at most ${rate} of those who have none are called high.`,
    uncertain: `At an error rate of ${rate} the model excludes neither that there is a narrowing nor that there is none.`,
  }[decision];
}

function drawScale(probability, bounds, found) {
  const [low, high] = bounds ? [bounds.low, bounds.high].sort((a, b) => a - b) : [0, 1];
  const zones = { low: [0, low], uncertain: [low, high], high: [high, 1] };
  for (const [word, [from, to]] of Object.entries(zones)) {
    place($(`zone-${word}`), from, Math.min(to, 1));
    place($(`called-${word}`), from, Math.min(to, 1));
    $(`called-${word}`).textContent = bounds && to - from >= NARROW ? word : "";
  }
  place($("marker"), probability);
  for (const part of document.querySelectorAll(".spread, .similar")) part.hidden = !found;
  if (found) {
    place($("spread"), found.interval.low, found.interval.high);
    place($("observed"), found.interval.value);
  }
  const called = bounds ? `; low is under ${share(bounds.low)}, high from ${share(bounds.high)}` : "";
  $("scale").ariaLabel = `A scale from 0 to 100%: the patient at ${percent(probability)}${called}.`;
}

function place(part, from, to) {
  part.style.left = `${100 * from}%`;
  if (to !== undefined) part.style.width = `${100 * Math.max(0, to - from)}%`;
}

function showWhy(answer, patient) {
  const { base_probability: base, contributions, reference, probability } = answer;
  const all = Object.entries(contributions).sort(([, a], [, b]) => Math.abs(b) - Math.abs(a));
  const rows = all.filter(([, change]) => Math.abs(change) >= VISIBLE);
  const rest = all.filter(([, change]) => Math.abs(change) < VISIBLE).map(([name]) => lower(label(name)));
  const most = Math.max(...rows.map(([, change]) => Math.abs(change)));
  $("why").textContent =
    "In percentage points, from the probability of a typical patient, who has the median or most frequent value " +
    `of each attribute, to that of this one. It describes the model, not what causes the disease. ${accuracy(answer)}`;
  $("contributions").replaceChildren(
    sum("Typical patient", base),
    ...rows.map(([name, change]) => row(name, change / most, change, patient[name], reference[name])),
    sum("This patient", probability),
  );
  $("rest").textContent = rest.length ? `Little or no part in the difference: ${rest.join("; ")}.` : "";
}

function accuracy({ method, coalitions, error }) {
  if (method === "exact") return "The parts are exact and add up.";
  const spread = (100 * error).toFixed(1);
  return `The parts add up, and are estimated from ${coalitions} samples, each with a standard error of up to ${spread} points.`;
}

function row(name, width, change, value, reference) {
  const bar = element("span", { className: change > 0 ? "raised" : "lowered" });
  place(bar, change > 0 ? 0.5 : 0.5 + width / 2, change > 0 ? 0.5 + width / 2 : 0.5);
  const given = value === undefined ? "not known" : shown(name, value);
  const heading = element("th", { scope: "row" }, label(name));
  heading.append(element("small", {}, `${given}; typical: ${shown(name, reference)}`));
  const track = element("span", { className: "bar", ariaHidden: "true" }, bar);
  return element("tr", {}, heading, element("td", {}, points(change), track));
}

function sum(title, probability) {
  const cells = [element("th", { scope: "row" }, title), element("td", {}, `${(100 * probability).toFixed(1)}%`)];
  return element("tr", { className: "sum" }, ...cells);
}

function markStale() {
  const old = JSON.stringify(read()) !== sent;
  $("stale").hidden = !old;
  $("answer").classList.toggle("old", old);
}

// The model

function showModel() {
  $("facts").replaceChildren();
  for (const old of document.querySelectorAll("#limits .own")) old.remove();
  if (!card) return;
  const { metadata, evaluation, model_version: version } = card;
  const assessment = evaluation.assessment;
  fact("Version", `${version}, ${words(metadata.recipe.family)}`);
  if (recalibrated()) fact("Recalibrated", "for a hospital; the figures here are of the model before that");
  fact("ROC-AUC", interval(metadata.test.roc_auc, assessment?.coverage.test.n));
  const { age } = metadata.training_ranges;
  if (age) limit(`Not for ages outside ${age.low} to ${age.high} years: none was seen.`);
  const hospitals = (assessment?.hospitals ?? []).map(({ scores }) => scores.roc_auc?.value).filter(Boolean);
  if (hospitals.length) {
    const [least, most] = [Math.min(...hospitals), Math.max(...hospitals)].map((value) => value.toFixed(2));
    limit(`At hospitals left out of its training it had a ROC-AUC from ${least} to ${most}.`);
  }
  const broken = Object.entries(assessment?.coverage ?? {}).filter(([, found]) => !found.holds);
  const places = broken.map(([name]) => (name === "test" ? "the patients set aside" : name));
  if (places.length) limit(`The error rate of low and high was not kept at: ${places.join(", ")}.`);
}

function interval(score, n) {
  if (!score) return "not known";
  const [value, low, high] = [score.value, score.low, score.high].map((bound) => bound.toFixed(3));
  return `${value} (95% interval ${low} to ${high})${n ? ` on ${n} patients set aside` : ""}`;
}

function recalibrated() {
  return card?.model_version.includes("+") ?? false;
}

function fact(term, text) {
  $("facts").append(element("dt", {}, term), element("dd", {}, text));
}

function limit(text) {
  $("limits").append(element("li", { className: "own" }, text));
}

// Words

function label(name) {
  return fields.get(name)?.dataset.label ?? name;
}

// A value as it was sent, a number or a word, or as the service names it, a number or a code.
function shown(name, value) {
  const box = fields.get(name);
  if (isMeasure(box)) return `${+value.toFixed(2)} ${box.dataset.unit}`;
  const chosen = [...box.querySelectorAll("input")].find((i) => i.value === value || i.dataset.code === String(value));
  return chosen.parentElement.textContent.trim();
}

// A warning of the service begins with the attribute's name in the data.
function named(warning) {
  const [name] = warning.split(" ", 1);
  return label(name) + warning.slice(name.length);
}

function words(name) {
  return name.replaceAll("_", " ");
}

function sentence(text) {
  return text.slice(0, 1).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");
}

function percent(p) {
  if (p < 0.01) return "under 1%";
  return p > 0.99 ? "over 99%" : share(p);
}

function lower(text) {
  return text.replace(/^[A-Z](?=[a-z])/, (letter) => letter.toLowerCase());
}

function share(value) {
  return `${Math.round(100 * value)}%`;
}

function points(change) {
  return `${change > 0 ? "+" : "\u2212"}${Math.abs(100 * change).toFixed(1)}`;
}

// The document

function element(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function list(id, texts) {
  $(id).hidden = !texts.length;
  $(id).querySelector("ul").replaceChildren(...texts.map((text) => element("li", {}, text)));
}

function show(which) {
  for (const id of ["empty", "problem", "answer"]) $(id).hidden = id !== which;
}

function say(text) {
  $("spoken").textContent = text;
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  submit();
});
form.addEventListener("input", () => {
  if (sent) markStale();
});
form.addEventListener("reset", () => {
  clearWrong();
  show("empty");
  sent = null;
});
$("example").addEventListener("click", fillExample);
$("key").addEventListener("submit", (event) => {
  event.preventDefault();
  takeKey();
});
look();
