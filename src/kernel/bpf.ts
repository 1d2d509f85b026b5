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

const tests = { '==': BPF_JMP_JEQ_K, '>': BPF_JMP_JGT_K, '>=': BPF_JMP_JGE_K } as const;
export type Test = keyof typeof tests;

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

  /** struct sock_filter[], little endian. */
  assemble(): Uint8Array {
    const far = this.#farJumps();
    const { addresses, end } = this.#layout(far);
    const bytes = Buffer.alloc(end * instructionSize);
    let pc = 0;
    const emit = (code: number, jt: number, jf: number, k: number) => {
      bytes.writeUInt16LE(code, pc * instructionSize);
      bytes.writeUInt8(jt, pc * instructionSize + 2);
      bytes.writeUInt8(jf, pc * instructionSize + 3);
      bytes.writeUInt32LE(k >>> 0, pc * instructionSize + 4);
      pc++;
    };
    for (const [i, item] of this.#items.entries()) {
      if ('at' in item) continue;
      if (!('yes' in item)) {
        emit(item.code, 0, 0, item.k);
        continue;
      }
      const [yesFar, noFar] = [far.has(`${i}y`), far.has(`${i}n`)];
      const next = pc + 1 + Number(yesFar) + Number(noFar);
      const yes = item.yes ? (addresses.get(item.yes.place) as number) : next;
      const no = item.no ? (addresses.get(item.no.place) as number) : next;
      const base = pc + 1;
      emit(item.code, yesFar ? 0 : yes - base, noFar ? Number(yesFar) : no - base, item.k);
      if (yesFar) emit(BPF_JMP_JA, 0, 0, yes - pc - 1);
      if (noFar) emit(BPF_JMP_JA, 0, 0, no - pc - 1);
    }
    return bytes;
  }

  /** Which branches need an unconditional jump: grown until all others reach, since each added jump moves what follows. */
  #farJumps(): ReadonlySet<string> {
    const far = new Set<string>();
    for (let before = -1; before !== far.size; ) {
      before = far.size;
      const { addresses, starts } = this.#layout(far);
      for (const [i, item] of this.#items.entries()) {
        if (!('yes' in item)) continue;
        const base = (starts[i] as number) + 1;
        for (const [to, name] of [
          [item.yes, `${i}y`],
          [item.no, `${i}n`],
        ] as const) {
          // Both of this instruction's own jumps may still come in between.
          if (to && (addresses.get(to.place) as number) - base > 255 - 2) far.add(name);
        }
      }
    }
    return far;
  }

  #layout(far: ReadonlySet<string>): { addresses: Map<number, number>; starts: number[]; end: number } {
    const addresses = new Map<number, number>();
    const starts: number[] = [];
    let end = 0;
    for (const [i, item] of this.#items.entries()) {
      starts.push(end);
      if ('at' in item) addresses.set(item.at.place, end);
      else end += 1 + Number(far.has(`${i}y`)) + Number(far.has(`${i}n`));
    }
    return { addresses, starts, end };
  }
}
