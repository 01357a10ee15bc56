// Which key is which command. No page is needed here.

const COMMANDS = {
  M: "mixed",
  J: "junk",
  S: "skip",
  Z: "undo",
  I: "refine",
  H: "help",
  R: "rename",
  Y: "confirm",
  A: "ask",
  N: "names",
  U: "history",
  B: "back",
  F: "find",
  E: "enlarge",
  X: "drop",
  ArrowDown: "next",
  ArrowUp: "previous",
};

// The command that a key means together with Alt, if any; a digit is a name, with Shift how sure one is.
// Letters by their place on the keyboard would be wrong on other layouts, but Alt changes the letter on a Mac.
export function commandOf({ key, code, shiftKey = false }) {
  if (shiftKey) return /^Digit[1-5]$/.test(code) ? `sure ${code.at(-1)}` : { Z: "redo" }[letterOf(key, code)];
  if (/^Digit[1-9]$/.test(code)) return code.at(-1);
  return COMMANDS[letterOf(key, code)];
}

const letterOf = (key, code) => (/^[a-z]$/i.test(key) ? key.toUpperCase() : code.replace("Key", ""));
