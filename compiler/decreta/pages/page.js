"use strict";
const rows = [...document.querySelectorAll("[data-decision]")];
const said = document.getElementById("found");
const fields = ["words", "domain", "mode", "outcome"].map((id) => document.getElementById(id));
const show = () => {
  const [words, domain, mode, outcome] = fields.map((field) => field.value.toLowerCase());
  let count = 0;
  for (const row of rows) {
    const fits = (!words || row.dataset.decision.includes(words)) && (!domain || row.dataset.domain === domain)
      && (!mode || row.dataset.mode === mode) && (!outcome || row.dataset.outcome === outcome);
    row.hidden = !fits;
    count += fits;
  }
  said.textContent = `${count} of ${rows.length} shown`;
};
for (const field of fields) field.addEventListener("input", show);
for (const node of document.querySelectorAll("[data-node]")) {
  node.addEventListener("click", () => { fields[0].value = node.dataset.node; show(); });
}
show();
