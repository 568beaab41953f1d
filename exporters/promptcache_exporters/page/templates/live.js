// Reload the content when the table has changed. It stops with the tab.
"use strict";
let known = null;
const sign = document.getElementById("live");
async function look() {
  if (document.hidden) return;
  try {
    const answer = await fetch("/changes", { cache: "no-store" });
    if (!answer.ok) throw new Error("closed");
    const version = await answer.text();
    sign.classList.remove("off");
    if (known !== null && known !== version) {
      const page = await (await fetch(location.href, { cache: "no-store" })).text();
      const next = new DOMParser().parseFromString(page, "text/html").querySelector("main");
      // A page that is still being read comes with the next look.
      if (!next || next.querySelector("[data-is-reading]")) return;
      document.querySelector("main").replaceChildren(...next.childNodes);
    }
    known = version;
  } catch {
    sign.classList.add("off");
  }
}
setInterval(look, 2000);
document.addEventListener("visibilitychange", look);
look();
