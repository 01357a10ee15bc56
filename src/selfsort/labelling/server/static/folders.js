// A folder with a folder for each name, as a table. No page is needed here.

const cell = (text) => `"${text.replaceAll('"', '""')}"`;

// The paths begin with the folder that was chosen, as browsers give them; a file directly in it has no name.
export function tableOf(paths) {
  const parts = paths.map((path) => path.split("/")).filter((each) => each.length > 2);
  const rows = parts.map((each) => [each.slice(1).join("/"), each.slice(1, -1).join("/")].map(cell).join(","));
  return ["id,name", ...rows, ""].join("\n");
}
