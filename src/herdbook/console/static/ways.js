// The way back to a list leads to it as it was in this tab: its search, order, filters and page. The tab forgets it when it closes.

addEventListener("pagehide", () => {
  if (document.querySelector("[data-kept-list]") === null) return;
  const query = new URLSearchParams(location.search);
  query.delete("notice");
  sessionStorage.setItem(`list ${location.pathname}`, `${query}`);
});

document.addEventListener(
  "click",
  (event) => {
    const link = event.target instanceof Element ? event.target.closest("a[data-list]") : null;
    if (link !== null) link.search = sessionStorage.getItem(`list ${link.pathname}`) ?? "";
  },
  true,
);
