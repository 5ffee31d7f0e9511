
// How things are shown. Whatever comes from the gateway becomes text, never markup; rows stay the
// same elements while they are updated, so that the focus and what is being typed stay too.

const byId = (id) => document.getElementById(id);

function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// Brings the rows of a table's body in line with items, each of which has a key. Rows are moved only
// where the order has changed: a row that is moved loses the focus.
function showRows(body, items, key, create, update) {
  const names = new Set(items.map((item) => String(key(item))));
  for (const row of [...body.children]) if (!names.has(row.dataset.key)) removeRow(body, row);
  const known = new Map([...body.children].map((row) => [row.dataset.key, row]));
  let place = body.firstElementChild;
  for (const item of items) {
    const name = String(key(item));
    let row = known.get(name);
    if (!row) {
      row = create(item);
      row.dataset.key = name;
    }
    update(row, item);
    if (row === place) place = place.nextElementSibling;
    else body.insertBefore(row, place);
  }
}

// A row that goes while it has the focus hands it on, so that the keyboard is not lost.
function removeRow(body, row) {
  const hadFocus = row.contains(document.activeElement);
  const near = row.nextElementSibling || row.previousElementSibling;
  row.remove();
  if (!hadFocus) return;
  const button = near && near.querySelector("button, a");
  (button || body.closest("section").querySelector("h2")).focus();
}

function cells(row, count, classes = {}) {
  for (let n = 0; n < count; n += 1) row.append(make("td", { className: classes[n] || "" }));
  return row;
}

function cellText(row, n, text) {
  setText(row.children[n], text === null || text === undefined ? "–" : String(text));
}

function stateCell(cell, word) {
  setText(cell, word);
  cell.className = "state state-" + word;
}

// A day is said where it is not today.
function moment(ms) {
  if (ms === null || ms === undefined) return "–";
  const text = new Date(ms).toISOString().replace("T", " ").replace("Z", "");
  const today = new Date().toISOString().slice(0, 10);
  return text.startsWith(today) ? text.slice(11, 19) : text.slice(0, 19);
}

function timeElement(ms) {
  const iso = new Date(ms).toISOString();
  return make("time", { dateTime: iso, title: iso }, iso.slice(11, 23) + " UTC");
}

function seconds(ms) {
  if (ms < 1000) return ms + " ms";
  if (ms < 120000) return (ms / 1000).toFixed(1) + " s";
  if (ms < 7200000) return (ms / 60000).toFixed(1) + " min";
  return (ms / 3600000).toFixed(1) + " h";
}

function rateText(rate) {
  if (rate === undefined || rate === null) return "";
  if (rate >= 1) return trimmed(rate) + "/s";
  if (rate * 60 >= 1) return trimmed(rate * 60) + "/min";
  return trimmed(rate * 3600) + "/h";
}

const trimmed = (number) => String(Number(number.toPrecision(6)));

function say(text) {
  setText(byId("failed"), "");
  setText(byId("said"), text);
}

function complain(error) {
  setText(byId("said"), "");
  setText(byId("failed"), error.message);
}

// A button that does something on the gateway and says what became of it.
function actor(label, act, isCareful = false) {
  const button = make("button", { type: "button" }, label);
  let isAsked = false;
  button.addEventListener("click", async () => {
    if (isCareful && !isAsked) {
      isAsked = true;
      button.textContent = "Really " + label.toLowerCase() + "?";
      say("Press again to " + label.toLowerCase() + ".");
      setTimeout(() => { isAsked = false; button.textContent = label; }, 6000);
      return;
    }
    // Not disabled meanwhile: that would take the focus away.
    if (button.dataset.busy) return;
    button.dataset.busy = "yes";
    try {
      say(await act());
    } catch (error) {
      complain(error);
    } finally {
      // Before the refresh: what the button says next can be pressed as soon as it says it.
      delete button.dataset.busy;
    }
    refresh().catch(complain);
  });
  return button;
}
