// Asks for the front page again while it is looked at, and puts its parts in place. Nothing needs it.
"use strict";
(() => {
  const EVERY_MS = 30000;
  const live = document.getElementById("live");
  if (!live) return;
  const refresh = async () => {
    if (document.hidden || live.contains(document.activeElement)) return;
    try {
      const answer = await fetch("/", { headers: { "x-authcoded-refresh": "1" } });
      if (answer.redirected) return location.reload();
      if (!answer.ok) return;
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = page.getElementById("live");
      const clock = page.querySelector("footer");
      if (fresh) live.replaceChildren(...fresh.childNodes);
      if (clock) document.querySelector("footer").replaceWith(clock);
    } catch {
      // The daemon is away; the next round tries again.
    }
  };
  setInterval(refresh, EVERY_MS);
})();
