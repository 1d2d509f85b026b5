/**
 * An assembler of classic BPF (linux/filter.h), as far as seccomp filters use it. Jumps name labels; those that are too far for a
 * conditional jump's 8 bits go by way of an unconditional one placed behind it.
 */

/** struct sock_filter {u16 code; u8 jt, jf; u32 k}. */
export const instructionSize = 8;
/** BPF_MAXINSNS. */
export const maxInstructions = 4096;

// Codes: class | size or operation | mode or source.
export const BPF_LD_W_ABS = 0x20;
export const BPF_ALU_AND_K = 0x54;
export const BPF_RET_K = 0x06;
export const BPF_JMP_JA = 0x05;
export const BPF_JMP_JEQ_K = 0x15;
export const BPF_JMP_JGT_K = 0x25;
export const BPF_JMP_JGE_K = 0x35;

const tests: Readonly<Record<Test, number>> = { '==': BPF_JMP_JEQ_K, '>': BPF_JMP_JGT_K, '>=': BPF_JMP_JGE_K };
export type Test = '==' | '>' | '>=';

/** A place further down. */
export interface Place {
  readonly place: number;
}

type Item =
  | { readonly code: number; readonly k: number }
  | { readonly code: number; readonly k: number; readonly yes: Place | undefined; readonly no: Place | undefined }
  | { readonly at: Place };

export class BpfAssembler {
  readonly #items: Item[] = [];
  #places = 0;

  /** A = the 32-bit word at `offset` of what is filtered. */
  load(offset: number): void {
    this.#items.push({ code: BPF_LD_W_ABS, k: offset });
  }

  /** A &= mask. */
  and(mask: number): void {
    this.#items.push({ code: BPF_ALU_AND_K, k: mask });
  }

  ret(value: number): void {
    this.#items.push({ code: BPF_RET_K, k: value });
  }

  /** Compares A, unsigned. Where no place is given it goes on with the next instruction. */
  test(test: Test, k: number, to: { yes?: Place; no?: Place }): void {
    this.#items.push({ code: tests[test], k, yes: to.yes, no: to.no });
  }

  /** A new place, to be put somewhere after every jump to it. */
  place(): Place {
    return { place: this.#places++ };
  }

  put(at: Place): void {
    this.#items.push({ at });
  }

  /**
   * struct sock_filter[], little endian. Jumps go forward only, so from the end backward every distance is known when it is needed.
   */
  assemble(): Uint8Array {
    // Two words an instruction, the last instruction first.
    const words: number[] = [];
    const emit = (code: number, jt: number, jf: number, k: number) => words.push(k, code | (jt << 16) | (jf << 24));
    /** Instructions from a place to the end. */
    const distances: number[] = [];
    for (let i = this.#items.length - 1; i >= 0; i--) {
      const item = this.#items[i] as Item;
      const after = words.length / 2;
      if ('at' in item) distances[item.at.place] = after;
      else if (!('yes' in item)) emit(item.code, 0, 0, item.k);
      else {
        const yes = item.yes ? after - (distances[item.yes.place] as number) : 0;
        const no = item.no ? after - (distances[item.no.place] as number) : 0;
        // What jumps farther than a byte tells goes by an instruction behind the test, which moves the other one's target, too.
        const yesFar = yes > 255 || (no > 255 && yes === 255);
        const noFar = no > 255 || (yesFar && no === 255);
        if (noFar) emit(BPF_JMP_JA, 0, 0, no);
        if (yesFar) emit(BPF_JMP_JA, 0, 0, yes + Number(noFar));
        const extra = Number(yesFar) + Number(noFar);
        emit(item.code, yesFar ? 0 : yes + extra, noFar ? Number(yesFar) : no + extra, item.k);
      }
    }
    const result = new DataView(new ArrayBuffer(words.length * 4));
    for (const [i, word] of words.entries()) result.setUint32((words.length - 1 - i) * 4, word >>> 0, true);
    return new Uint8Array(result.buffer);
  }
}
