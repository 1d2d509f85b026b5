import type { Span } from '../../ground/trace.ts';

function milliseconds(nanoseconds: bigint): string {
  const ms = Number(nanoseconds) / 1e6;
  return `${ms >= 100 ? ms.toFixed(0) : ms >= 10 ? ms.toFixed(1) : ms.toFixed(2)} ms`;
}

/** The spans as a tree: how long each took, when it began, what it was part of. */
export function timingText(spans: readonly Span[]): string {
  const [first] = spans;
  if (first === undefined) return '';
  const begin = spans.reduce((least, { start }) => (start < least ? start : least), first.start);
  // A span whose parent isn't shown stands for itself.
  const ids = new Set(spans.map(({ id }) => id));
  const children = Map.groupBy(spans, ({ parent }) => (parent !== undefined && ids.has(parent) ? parent : undefined));
  const lines: { took: string; at: string; name: string }[] = [];
  const add = (parent: number | undefined, depth: number): void => {
    const own = (children.get(parent) ?? []).toSorted((a, b) =>
      a.start < b.start ? -1 : a.start > b.start ? 1 : a.id - b.id,
    );
    for (const span of own) {
      const end = span.end ?? span.start;
      lines.push({
        took: span.end === undefined ? 'unfinished' : milliseconds(end - span.start),
        at: `+${milliseconds(span.start - begin)}`,
        name: '  '.repeat(depth) + span.name,
      });
      add(span.id, depth + 1);
    }
  };
  add(undefined, 0);
  const tookWidth = Math.max(...lines.map(({ took }) => took.length));
  const atWidth = Math.max(...lines.map(({ at }) => at.length));
  return lines.map(({ took, at, name }) => `${took.padStart(tookWidth)}  ${at.padStart(atWidth)}  ${name}\n`).join('');
}
