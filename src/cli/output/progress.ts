import type { ProgressEvent } from '../../ground/context.ts';
import type { Output } from '../output.ts';
import { terminalColumns } from '../session/terminal.ts';
import { humanSize } from './units.ts';

const frameMs = 80;

/**
 * Prints the progress of pulls and pushes: on a terminal a line per layer that is redrawn in place, else one line for each new state
 * of a layer, as docker does.
 */
export class ProgressLines {
  readonly #output: Output;
  readonly #lines = new Map<string, ProgressEvent>();
  readonly #dirty = new Set<string>();
  readonly #states = new Map<string, string>();
  #timer: NodeJS.Timeout | undefined;
  /** Lines below the first drawn one that the cursor stands under. */
  #drawn = 0;

  constructor(output: Output) {
    this.#output = output;
  }

  readonly onProgress = (event: ProgressEvent): void => {
    if (!this.#output.isTerminal) {
      this.#plain(event);
      return;
    }
    if (event.id === '') {
      this.flush();
      this.#output.line(event.status);
      // What comes next is drawn below.
      this.#lines.clear();
      this.#drawn = 0;
      return;
    }
    this.#lines.set(event.id, event);
    this.#dirty.add(event.id);
    this.#timer ??= setTimeout(() => this.flush(), frameMs);
  };

  #plain(event: ProgressEvent): void {
    if (event.id === '') {
      this.#output.line(event.status);
      return;
    }
    // Bytes alone are no news.
    if (event.current !== undefined && event.status !== 'Pull complete') return;
    if (this.#states.get(event.id) === event.status) return;
    this.#states.set(event.id, event.status);
    this.#output.line(`${event.id}: ${event.status}`);
  }

  /** Draws what has changed. To be called at the end. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#dirty.size === 0) return;
    const columns = terminalColumns();
    let text = '';
    let row = 0;
    for (const [id, event] of this.#lines) {
      const isNew = row >= this.#drawn;
      if (isNew) {
        text += `${lineText(event, columns)}\n`;
        this.#drawn++;
      } else if (this.#dirty.has(id)) {
        const up = this.#drawn - row;
        text += `\x1b[${up}A\r\x1b[2K${lineText(event, columns)}\x1b[${up}B\r`;
      }
      row++;
    }
    this.#dirty.clear();
    this.#output.write(text);
  }
}

function lineText({ id, status, current, total }: ProgressEvent, columns: number): string {
  const head = `${id}: ${status}`;
  if (current === undefined) return head.slice(0, columns - 1);
  const sizes =
    total === undefined || total <= 0 ? humanSize(current) : `${humanSize(current).padStart(7)}/${humanSize(total)}`;
  const room = columns - head.length - sizes.length - 6;
  if (total === undefined || total <= 0 || room < 10) return `${head} ${sizes}`.slice(0, columns - 1);
  const width = Math.min(50, room);
  const done = Math.min(width, Math.floor((current / total) * width));
  const bar = done === width ? '='.repeat(width) : `${'='.repeat(done)}>`.padEnd(width);
  return `${head} [${bar}] ${sizes}`;
}
