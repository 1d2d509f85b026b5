import { write, writeSync } from 'node:fs';
import { isTerminal } from './session/is-terminal.ts';

/** The reader of standard output or error has gone away: the command ends as if by SIGPIPE, without a word. */
export class ReaderGone extends Error {}

function ignorable(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  if (code === 'EPIPE') throw new ReaderGone('the reader of the output has gone away', { cause: error });
  if (code === 'EAGAIN' || code === 'EINTR') return true;
  throw error;
}

/**
 * Standard output or error. Node's own streams are left alone: they cost several milliseconds at start, and block the event loop,
 * and with it the forwarding of signals, while a pipe's reader is slow.
 */
export class Output {
  readonly fd: number;
  #isTerminal: boolean | undefined;

  constructor(fd: number) {
    this.fd = fd;
  }

  get isTerminal(): boolean {
    return (this.#isTerminal ??= isTerminal(this.fd));
  }

  /** Writes a text of bounded size at once, before it returns. */
  write(text: string): void {
    let left: Uint8Array = Buffer.from(text);
    while (left.length > 0) {
      try {
        left = left.subarray(writeSync(this.fd, left));
      } catch (error) {
        // A descriptor that somebody else made non-blocking: sleep a millisecond, then offer the rest again.
        if (ignorable(error)) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
      }
    }
  }

  line(text: string): void {
    this.write(`${text}\n`);
  }

  /** Writes bytes of any amount; resolves when they are handed over, so that a slow reader slows the source down. */
  async send(data: Uint8Array): Promise<void> {
    let left = data;
    while (left.length > 0) {
      try {
        const written = await new Promise<number>((resolve, reject) => {
          write(this.fd, left, (error, count) => (error ? reject(error) : resolve(count)));
        });
        left = left.subarray(written);
      } catch (error) {
        if (ignorable(error)) await new Promise((resolve) => setTimeout(resolve, 2));
      }
    }
  }
}
