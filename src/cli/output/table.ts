/** Cells a column of an aligned table is at least as wide as, and the space behind the longest. */
export interface TableOptions {
  readonly minWidth?: number;
  readonly padding?: number;
}

/** How many columns of a terminal a text takes: wide East Asian characters and emoji take two, marks none. */
export function displayWidth(text: string): number {
  let width = 0;
  for (const char of text) {
    const code = char.codePointAt(0) as number;
    if (code < 0x300) width += 1;
    else if (/\p{M}/u.test(char)) continue;
    else
      width +=
        /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{1f300}-\u{1faff}\u{20000}-\u{3fffd}]/u.test(
          char,
        )
          ? 2
          : 1;
  }
  return width;
}

/**
 * Aligns the cells of lines, which are separated by tabs, as Go's text/tabwriter does: a column is a run of neighbouring lines that
 * have a further cell behind it; the last cell of a line belongs to no column.
 */
export function alignTable(text: string, options: TableOptions = {}): string {
  const { minWidth = 10, padding = 3 } = options;
  const lines = text.split('\n').map((line) => line.split('\t'));
  const widths = lines.map((): number[] => []);
  const columns = Math.max(...lines.map((cells) => cells.length)) - 1;
  for (let column = 0; column < columns; column++) {
    for (let first = 0; first < lines.length; first++) {
      if ((lines[first] as string[]).length <= column + 1) continue;
      let last = first;
      let width = minWidth;
      for (; last < lines.length && (lines[last] as string[]).length > column + 1; last++)
        width = Math.max(width, displayWidth(lines[last]?.[column] ?? '') + padding);
      for (let line = first; line < last; line++) (widths[line] as number[])[column] = width;
      first = last;
    }
  }
  return lines
    .map((cells, line) =>
      cells
        .map((cell, column) => {
          const width = widths[line]?.[column];
          return width === undefined || column === cells.length - 1
            ? cell
            : cell + ' '.repeat(width - displayWidth(cell));
        })
        .join(''),
    )
    .join('\n');
}

/** The first `length` characters of a text, the last of them an ellipsis where it was longer; wide characters count twice. */
export function ellipsis(text: string, length: number): string {
  if (displayWidth(text) <= length) return text;
  let out = '';
  let width = 0;
  for (const char of text) {
    const next = displayWidth(char);
    if (width + next > length - 1) break;
    out += char;
    width += next;
  }
  return `${out}…`;
}
