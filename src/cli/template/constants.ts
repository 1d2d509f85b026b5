import { Float } from './values.ts';

/** A Go number: int as number or bigint, Float, or what is wrong with it. */
export function parseNumber(text: string): number | bigint | Float | { readonly problem: string } {
  const problem = { problem: `illegal number syntax: ${JSON.stringify(text)}` };
  const sign = text.startsWith('-') ? '-' : '';
  const body = text.replace(/^[+-]/, '').replaceAll('_', '');
  if (body === '' || body.endsWith('i')) return problem;
  if (/^(0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO]?[0-7]+|0|[1-9][0-9]*)$/.test(body)) {
    const digits = /^0[0-7]+$/.test(body) ? `0o${body.slice(1)}` : body;
    const value = BigInt(digits) * (sign === '' ? 1n : -1n);
    if (value >= 2n ** 64n || value < -(2n ** 63n)) return { problem: `integer overflow: ${JSON.stringify(text)}` };
    return narrow(value);
  }
  if (!/^([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$/.test(body)) return problem;
  const value = Number(sign + body);
  if (!Number.isFinite(value)) return problem;
  // As in Go a constant like 1e3 is an integer when it is one, unless it is written with a decimal point.
  return new Float(value);
}

/** An int as a number where that is exact. */
export function narrow(value: bigint): number | bigint {
  const small = Number(value);
  return Number.isSafeInteger(small) ? small : value;
}

const simpleEscapes: Readonly<Record<string, string>> = {
  a: '\x07',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
  v: '\v',
  '\\': '\\',
};

/** The text between the quotes, escapes resolved. Throws on a bad one. */
function unescape(body: string, mark: string): string {
  // Bytes given by \x and octal escapes are bytes of UTF-8.
  const bytes: number[] = [];
  for (let i = 0; i < body.length; ) {
    const char = String.fromCodePoint(body.codePointAt(i) as number);
    if (char !== '\\') {
      bytes.push(...Buffer.from(char));
      i += char.length;
      continue;
    }
    const next = body[i + 1] ?? '';
    const simple = next === mark ? mark : simpleEscapes[next];
    if (simple !== undefined) {
      bytes.push(...Buffer.from(simple));
      i += 2;
      continue;
    }
    const match = /^(?:x([0-9a-fA-F]{2})|([0-7]{3})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8}))/.exec(body.slice(i + 1));
    if (match === null) throw new Error('invalid escape');
    const [all, hex, octal, short, long] = match;
    if (hex !== undefined) bytes.push(Number.parseInt(hex, 16));
    else if (octal !== undefined) {
      if (Number.parseInt(octal, 8) > 255) throw new Error('invalid escape');
      bytes.push(Number.parseInt(octal, 8));
    } else {
      const code = Number.parseInt(short ?? (long as string), 16);
      if (code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) throw new Error('invalid escape');
      bytes.push(...Buffer.from(String.fromCodePoint(code)));
    }
    i += 1 + all.length;
  }
  return Buffer.from(bytes).toString();
}

/** A quoted or raw string constant. Throws when it isn't well-formed. */
export function parseString(text: string): string {
  if (text.startsWith('`')) return text.slice(1, -1).replaceAll('\r', '');
  return unescape(text.slice(1, -1), '"');
}

/** A character constant: its code point, an int. */
export function parseCharacter(text: string): number | { readonly problem: string } {
  const problem = { problem: text === "''" ? 'invalid syntax' : `malformed character constant: ${text}` };
  try {
    const chars = Array.from(unescape(text.slice(1, -1), "'"));
    return chars.length === 1 ? ((chars[0] as string).codePointAt(0) as number) : problem;
  } catch {
    return problem;
  }
}
