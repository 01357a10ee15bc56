// The colours that a person chose, before the first of them is seen: as the system has them, light, or dark.

const chosen = localStorage.getItem("selfsort-theme");
if (chosen) document.documentElement.dataset.theme = chosen;
