
// What the page is made of: services, jobs, one job, dead letters, sources and webhooks.

const states = ["gathering", "joined", "received", "submitting", "unsure", "submitted", "running", "completed", "failed",
  "cancelled", "vanished", "dead"];
const retried = ["failed", "cancelled", "vanished", "dead"];
const pageSize = 25;
const shown = { before: null, next: null, job: null };
const pathOf = (name) => "/v1/services/" + encodeURIComponent(name) + "/flow";

function serviceRow(service) {
  const name = service.name;
  const row = make("tr", {}, make("th", { scope: "row" }, name));
  cells(row, 5, { 0: "number", 1: "number", 2: "number", 3: "number" });
  const field = (label, what) => make("input", {
    type: "text", name: what, autocomplete: "off", spellcheck: false,
    "aria-label": label + " of " + name, "aria-describedby": "flow-help", placeholder: "none",
  });
  const rate = field("Rate", "rate");
  const limit = field("Limit of jobs in Slurm", "concurrency");
  const button = make("button", { type: "submit", "aria-label": "Set the flow of " + name }, "Set");
  const form = make("form", {}, make("label", {}, "Rate ", rate), make("label", {}, "Limit ", limit), button);
  for (const input of [rate, limit]) {
    input.addEventListener("input", () => { input.dataset.touched = "yes"; });
  }
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      const count = limit.value.trim();
      const flow = await call("PUT", pathOf(name), {
        rate: rate.value.trim() || null,
        concurrency: count || null,
      });
      for (const input of [rate, limit]) delete input.dataset.touched;
      showFlow(row, flow);
      say(name + ": rate " + (rateText(flow.rate) || "without a bound") + ", limit "
        + (flow.concurrency || "none") + ".");
      await refresh();
    } catch (error) {
      complain(error);
    }
  });
  const pause = actor("Pause", async () => {
    const flow = await call("PUT", pathOf(name), { paused: pause.dataset.paused !== "yes" });
    showFlow(row, flow);
    return name + (flow.paused ? " is paused: its events are kept." : " goes on.");
  });
  row.append(make("td", {}, form), make("td", {}, pause));
  return row;
}

function showFlow(row, flow) {
  for (const [name, text] of [["rate", rateText(flow.rate)], ["concurrency", String(flow.concurrency || "")]]) {
    const input = row.querySelector("input[name=" + name + "]");
    if (!input.dataset.touched) input.value = text;
  }
  const pause = row.lastElementChild.firstElementChild;
  pause.dataset.paused = flow.paused ? "yes" : "no";
  setText(pause, flow.paused ? "Resume" : "Pause");
  pause.setAttribute("aria-label", (flow.paused ? "Resume " : "Pause ") + row.firstElementChild.textContent);
}

function showService(row, service) {
  const minute = service.last_minute;
  const numbers = [service.waiting, service.submitting + service.submitted, service.running, service.dead];
  numbers.forEach((number, n) => cellText(row, n + 1, number));
  cellText(row, 5, minute.accepted + " taken, " + minute.submitted + " submitted, "
    + minute.completed + " done, " + minute.failed + " failed");
  showFlow(row, service.flow);
}

async function refreshOverview() {
  const overview = await get("/v1/overview");
  setText(byId("standing"), (overview.slurm_answers ? "Slurm answers." : "Slurm does not answer: submission waits.")
    + (overview.draining ? " Drained: no events are taken until it is resumed." : "")
    + " Version " + overview.version + ", " + moment(overview.time_ms) + " UTC.");
  showRows(byId("services"), overview.services, (one) => one.name, serviceRow, showService);
  const chosen = byId("jobs-service");
  for (const { name } of overview.services) {
    if (![...chosen.options].some((one) => one.value === name)) chosen.append(make("option", { value: name }, name));
  }
}

function jobRow(job) {
  const link = make("a", { href: "#job=" + job.id, "aria-label": "Show job " + job.id }, String(job.id));
  return cells(make("tr", {}, make("th", { scope: "row" }, link)), 6, { 2: "text", 5: "text" });
}

function showJobRow(row, job) {
  cellText(row, 1, job.service);
  stateCell(row.children[2], job.state);
  cellText(row, 3, job.subject || job.event_id);
  cellText(row, 4, moment(job.received_ms));
  cellText(row, 5, job.slurm_job);
  cellText(row, 6, job.reason);
}

async function refreshJobs() {
  const query = new URLSearchParams({ limit: pageSize });
  for (const [name, value] of [["service", byId("jobs-service").value],
    ["state", byId("jobs-state").value], ["before", shown.before]]) {
    if (value) query.set(name, value);
  }
  const { jobs, next_before: next } = await get("/v1/jobs?" + query);
  shown.next = next;
  showRows(byId("jobs"), jobs, (job) => job.id, jobRow, showJobRow);
  byId("jobs-none").hidden = jobs.length > 0;
  byId("jobs-older").disabled = next === null;
  byId("jobs-newest").disabled = shown.before === null;
}

function wayStep(step, before, first) {
  const item = make("li", {}, make("span", { className: "state state-" + step.state }, step.state),
    " at ", timeElement(step.at_ms));
  if (before) {
    item.append(" – after " + seconds(step.at_ms - before.at_ms) + ", "
      + seconds(step.at_ms - first.at_ms) + " since intake");
  }
  const more = [step.slurm_job && "Slurm job " + step.slurm_job, step.slurm_state,
    step.exit_code !== null && "exit code " + step.exit_code, step.generation > 0 && "job "
    + (step.generation + 1) + " of this event", step.reason].filter(Boolean);
  if (more.length > 0) item.append(": " + more.join(", "));
  return item;
}

async function refreshJob() {
  const id = shown.job;
  byId("job").hidden = id === null;
  if (id === null) return;
  const { job, event, way } = await get("/v1/jobs/" + id);
  const log = await get("/v1/jobs/" + id + "/log").catch((error) => error.message);
  if (shown.job !== id) return;
  setText(byId("job-title"), "Job " + job.id + " of " + job.service + ": " + job.state);
  byId("job-retry").hidden = !(retried.includes(job.state) && job.door === "event" && job.deleted_ms === null);
  const facts = [["Event", job.event_id], ["From", job.source], ["Type", job.type], ["Subject", job.subject],
    ["Slurm job", job.slurm_job], ["Task of an array", job.slurm_task], ["Slurm's state", job.slurm_state], ["Exit code", job.exit_code],
    ["Runs of sbatch", job.attempts], ["Reason", job.reason], ["Marker", job.marker]];
  const known = facts.filter(([, value]) => value !== null && value !== undefined);
  byId("job-facts").replaceChildren(...known.flatMap(([name, value]) =>
    [make("dt", {}, name), make("dd", {}, String(value))]));
  byId("job-way").replaceChildren(...way.map((step, n) => wayStep(step, way[n - 1], way[0])));
  setText(byId("job-log"), log || "Nothing.");
  setText(byId("job-event"), JSON.stringify(event, null, 2));
}

function deadRow(dead) {
  const row = cells(make("tr", {}, make("th", { scope: "row" }, dead.what)), 6,
    { 0: "text", 1: "text", 2: "text", 3: "text" });
  const replay = actor("Replay", async () => {
    const done = await call("POST", dead.path + (dead.isJob ? "/retry" : "/replay"));
    return dead.what + (dead.isJob ? " is submitted again." : ": " + done.accepted + " new jobs, "
      + done.duplicates + " known ones, " + done.unmatched + " events without a service.");
  });
  const discard = actor("Discard", async () => {
    if (dead.isJob) await call("POST", dead.path + "/discard");
    else await call("DELETE", dead.path);
    return dead.what + " is discarded.";
  }, true);
  replay.setAttribute("aria-describedby", "dead-title");
  replay.hidden = !dead.canReplay;
  const label = (button, verb) => button.setAttribute("title", verb + " " + dead.what.toLowerCase());
  label(replay, "Replay");
  label(discard, "Discard");
  row.lastElementChild.append(make("div", { className: "line" }, replay, discard));
  return row;
}

function showDead(row, dead) {
  [dead.from, dead.subject, dead.reason, dead.head, moment(dead.received_ms)]
    .forEach((text, n) => cellText(row, n + 1, text));
}

async function refreshDead() {
  const [{ messages }, { jobs }] = await Promise.all([get("/v1/dead-letters"),
    get("/v1/jobs?state=dead&present=true&limit=100")]);
  const dead = messages.slice(0, 100).map((one) => ({
    ...one, what: "Message " + one.id, from: one.source, path: "/v1/dead-letters/" + one.id,
    canReplay: one.can_replay,
  })).concat(jobs.map((job) => ({
    what: "Job " + job.id, from: job.service, subject: job.subject || job.event_id, reason: job.reason,
    head: null, received_ms: job.received_ms, path: "/v1/jobs/" + job.id, isJob: true,
    canReplay: job.door === "event",
  })));
  showRows(byId("dead"), dead, (one) => one.what, deadRow, showDead);
  byId("dead-none").hidden = dead.length > 0;
}

async function refreshEnds() {
  const [{ sources }, { webhooks }] = await Promise.all([get("/v1/sources"), get("/v1/webhooks")]);
  const ends = sources.map((one) => ({ ...one, counts: one.accepted + " new, " + one.duplicates + " known, "
    + one.unmatched + " without a service, " + one.dead + " dead" }))
    .concat(webhooks.map((one) => ({ ...one, kind: "webhook", counts: one.delivered + " told, " + one.waiting
      + " waiting, " + one.refused + " refused, " + one.dropped + " dropped" })));
  showRows(byId("ends"), ends, (one) => one.kind + " " + one.name,
    (one) => cells(make("tr", {}, make("th", { scope: "row" }, one.name)), 4, { 3: "text" }),
    (row, one) => {
      cellText(row, 1, one.kind);
      stateCell(row.children[2], one.state);
      cellText(row, 3, one.counts);
      cellText(row, 4, one.last_error ? moment(one.last_error_ms) + ": " + one.last_error : null);
    });
  byId("ends-none").hidden = ends.length > 0;
}

async function refresh() {
  await Promise.all([refreshOverview(), refreshJobs(), refreshJob(), refreshDead(), refreshEnds()]);
}

// However many changes come, the gateway is asked once a second at most, and each 5 s without any.
let isDue = true;
let isFollowing = false;
async function keepFresh() {
  for (let n = 1; ; n += 1) {
    if (isDue || n % 5 === 0) {
      isDue = false;
      try {
        await refresh();
        if (byId("main").hidden) enter();
      } catch (error) {
        if (error instanceof Unknown) return askToken();
        setText(byId("standing"), error.message);
      }
    }
    await new Promise((done) => setTimeout(done, 1000));
  }
}

function enter() {
  byId("login").hidden = true;
  byId("main").hidden = false;
  setText(byId("failed"), "");
  if (isFollowing) return;
  isFollowing = true;
  follow(() => { isDue = true; },
    (isLive) => setText(byId("stream"), isLive ? "Follows the gateway." : "Looks each 5 s: the stream is not there."));
}

function askToken() {
  if (sessionStorage.getItem(tokenKey)) complain(new Error("The gateway does not know this token."));
  sessionStorage.removeItem(tokenKey);
  byId("main").hidden = true;
  byId("login").hidden = false;
  setText(byId("standing"), "");
  byId("token").focus();
}

function openHash() {
  const wanted = /^#job=(\d{1,15})$/.exec(location.hash);
  shown.job = wanted ? Number(wanted[1]) : null;
  refreshJob().then(() => { if (shown.job !== null) byId("job-title").focus(); }, (error) => {
    byId("job").hidden = true;
    if (!(error instanceof Unknown)) complain(error);
  });
}

function begin() {
  for (const state of states) byId("jobs-state").append(make("option", { value: state }, state));
  const again = (before) => { shown.before = before; refreshJobs().catch(complain); };
  byId("jobs-filter").addEventListener("submit", (event) => event.preventDefault());
  byId("jobs-filter").addEventListener("change", () => again(null));
  byId("jobs-older").addEventListener("click", () => again(shown.next));
  byId("jobs-newest").addEventListener("click", () => again(null));
  byId("job-close").addEventListener("click", () => {
    const id = shown.job;
    history.replaceState(null, "", location.pathname);
    openHash();
    const link = document.querySelector("#jobs a[href='#job=" + id + "']");
    (link || byId("jobs-title")).focus();
  });
  const retry = actor("Another job for this event", async () => {
    await call("POST", "/v1/jobs/" + shown.job + "/retry");
    return "Job " + shown.job + " is submitted again.";
  });
  retry.id = "job-retry";
  byId("job-retry").replaceWith(retry);
  byId("login-form").addEventListener("submit", (event) => {
    event.preventDefault();
    sessionStorage.setItem(tokenKey, byId("token").value.trim());
    byId("token").value = "";
    isDue = true;
    keepFresh().then(() => {}, complain);
  });
  window.addEventListener("hashchange", openHash);
  openHash();
  keepFresh();
}

begin();
