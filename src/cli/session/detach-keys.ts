import { KeelsonError } from '../../ground/errors.ts';

/** The bytes of docker's notation: `ctrl-p,ctrl-q`, or single characters, separated by commas. */
export function parseDetachKeys(text: string): readonly number[] {
  const special: Readonly<Record<string, number>> = { '@': 0, '[': 27, '\\': 28, ']': 29, '^': 30, _: 31 };
  return text.split(',').map((key) => {
    const control = /^ctrl-([a-z@[\\\]^_])$/i.exec(key)?.[1];
    if (control !== undefined) return special[control] ?? control.toLowerCase().charCodeAt(0) - 96;
    if (/^[\x20-\x7e]$/.test(key)) return key.charCodeAt(0);
    throw new KeelsonError('invalid-argument', `invalid detach keys (${text}) provided`);
  });
}

/** Finds a sequence of keys in what is typed. What may be its beginning is held back until it is clear that it isn't. */
export class DetachFilter {
  readonly #keys: readonly number[];
  #matched = 0;

  constructor(keys: readonly number[]) {
    this.#keys = keys;
  }

  /** What goes on to the container, and whether the sequence is complete. */
  feed(chunk: Uint8Array): { readonly data: Uint8Array; readonly detached: boolean } {
    const keys = this.#keys;
    const out: number[] = [];
    for (const byte of chunk) {
      while (this.#matched > 0 && byte !== keys[this.#matched]) {
        // The held back bytes are ordinary ones, as far as they don't begin the sequence anew themselves.
        const held = keys.slice(0, this.#matched);
        let keep = this.#matched - 1;
        while (keep > 0 && !held.slice(-keep).every((key, i) => key === keys[i])) keep--;
        out.push(...held.slice(0, this.#matched - keep));
        this.#matched = keep;
      }
      if (byte !== keys[this.#matched]) out.push(byte);
      else if (++this.#matched === keys.length) return { data: Uint8Array.from(out), detached: true };
    }
    return { data: Uint8Array.from(out), detached: false };
  }
}
