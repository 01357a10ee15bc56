// Numbers as people read them. No page is needed here.

const whole = new Intl.NumberFormat("en");
export const count = (number) => whole.format(number);
export const pictures = (number) => `${count(number)} picture${number === 1 ? "" : "s"}`;

// Never rounded to nothing or to all, as in the report.
export function percent(share, digits = 0) {
  const least = 10 ** (-digits - 2);
  if (share > 0 && share < least / 2) return `<${(100 * least).toFixed(digits)}\u00a0%`;
  if (share < 1 && share > 1 - least / 2) return `>${(100 * (1 - least)).toFixed(digits)}\u00a0%`;
  return `${(100 * share).toFixed(digits)}\u00a0%`;
}

export function interval({ low, high }) {
  const [from, to] = [percent(low), percent(high)];
  return from === to ? to : `${from.replace("\u00a0%", "")} to ${to}`;
}

// A time to wait, never more exact than it is known.
export function duration(seconds) {
  if (seconds >= 90) return `about ${count(Math.round(seconds / 60))} minutes`;
  return seconds < 10 ? "some seconds" : `about ${5 * Math.round(seconds / 5)} s`;
}
