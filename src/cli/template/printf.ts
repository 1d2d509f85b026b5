import { exponent, floatText, quoteText, valueText } from './print.ts';
import { Float, View, elements, entries, field, fieldNames, kindOf, typeName } from './values.ts';

interface Spec {
  minus: boolean;
  plus: boolean;
  sharp: boolean;
  space: boolean;
  zero: boolean;
  /** `%+v`: structs with the names of their fields. */
  named: boolean;
  width: number | undefined;
  precision: number | undefined;
}

/** Go's fmt.Sprintf for the values that templates know, with its marks for mistakes: `%!d(string=x)`, `%!d(BADINDEX)`, `%!(EXTRA …)`. */
export function sprintf(format: string, operands: readonly unknown[]): string {
  let out = '';
  let next = 0;
  let reordered = false;
  let i = 0;
  const chars = Array.from(format);
  const number = (): number | undefined => {
    let digits = '';
    while (i < chars.length && /[0-9]/.test(chars[i] as string)) digits += chars[i++];
    return digits === '' ? undefined : Number(digits);
  };
  while (i < chars.length) {
    const char = chars[i++] as string;
    if (char !== '%') {
      out += char;
      continue;
    }
    const spec: Spec = {
      minus: false,
      plus: false,
      sharp: false,
      space: false,
      zero: false,
      named: false,
      width: undefined,
      precision: undefined,
    };
    const flagNames = { '-': 'minus', '+': 'plus', '#': 'sharp', ' ': 'space', '0': 'zero' } as const;
    while (i < chars.length && Object.hasOwn(flagNames, chars[i] as string))
      spec[flagNames[chars[i++] as keyof typeof flagNames]] = true;
    let badIndex = false;
    const index = (): void => {
      if (chars[i] !== '[') return;
      reordered = true;
      const close = chars.indexOf(']', i);
      const inside = close < 0 ? '' : chars.slice(i + 1, close).join('');
      if (close < 0) {
        i++;
        badIndex = true;
        return;
      }
      i = close + 1;
      const position = /^\d+$/.test(inside) ? Number(inside) - 1 : -1;
      if (position < 0 || position >= operands.length) badIndex = true;
      else next = position;
    };
    const star = (): number | undefined => {
      const value = operands[next++];
      if (typeof value === 'number' && Math.abs(value) <= 1e6) return value;
      return undefined;
    };
    index();
    if (chars[i] === '*') {
      i++;
      const width = star();
      if (width === undefined) out += '%!(BADWIDTH)';
      else if (width < 0) Object.assign(spec, { width: -width, minus: true });
      else spec.width = width;
    } else spec.width = number();
    if (chars[i] === '.') {
      i++;
      index();
      if (chars[i] === '*') {
        i++;
        const precision = star();
        if (precision === undefined || precision < 0) out += '%!(BADPREC)';
        else spec.precision = precision;
      } else spec.precision = number() ?? 0;
    }
    index();
    if (i >= chars.length) {
      out += '%!(NOVERB)';
      break;
    }
    const verb = chars[i++] as string;
    if (verb === '%') out += '%';
    else if (badIndex) out += `%!${verb}(BADINDEX)`;
    else if (next >= operands.length) out += `%!${verb}(MISSING)`;
    else out += one(verb, operands[next++], spec);
  }
  if (!reordered && next < operands.length) {
    const extra = operands
      .slice(next)
      .map((o) => (o === null || o === undefined ? '<nil>' : `${typeName(o)}=${valueText(o)}`));
    out += `%!(EXTRA ${extra.join(', ')})`;
  }
  return out;
}

function pad(text: string, spec: Spec, zeros = spec.zero): string {
  const missing = (spec.width ?? 0) - Array.from(text).length;
  if (missing <= 0) return text;
  if (spec.minus) return text + ' '.repeat(missing);
  if (!zeros) return ' '.repeat(missing) + text;
  const sign = /^[+\- ]/.test(text) ? (text[0] as string) : '';
  return sign + '0'.repeat(missing) + text.slice(sign.length);
}

function bad(verb: string, value: unknown): string {
  return value === null || value === undefined
    ? `%!${verb}(<nil>)`
    : `%!${verb}(${typeName(value)}=${valueText(value)})`;
}

function one(verb: string, value: unknown, spec: Spec): string {
  if (verb === 'T')
    return pad(value === null || value === undefined ? '<nil>' : typeName(value), { ...spec, zero: false });
  if (verb === 'v' && spec.sharp) return pad(goSyntax(value), spec);
  if (verb === 'v' && spec.plus) return one(verb, value, { ...spec, plus: false, named: true });
  const kind = kindOf(value);
  switch (kind) {
    case 'invalid':
    case 'nil':
      return verb === 'v' ? pad('<nil>', { ...spec, zero: false }) : bad(verb, value);
    case 'bool':
      return verb === 't' || verb === 'v' ? pad(String(value), { ...spec, zero: false }) : bad(verb, value);
    case 'int':
      return integerText(verb, BigInt(value as number), spec) ?? bad(verb, value);
    case 'float':
      return floatVerb(verb, (value as Float).value, spec) ?? bad(verb, value);
    case 'string':
      return stringText(verb, value as string, spec) ?? bad(verb, value);
    case 'slice':
      return `[${elements(value)
        .map((element) => one(verb, element, spec))
        .join(' ')}]`;
    case 'map':
      return `map[${entries(value)
        .map(([key, element]) => `${one(verb, key, spec)}:${one(verb, element, spec)}`)
        .join(' ')}]`;
    case 'struct': {
      const parts = fieldNames(value as object).map((name) => {
        const inner = one(verb, field(value as object, name)?.value, spec);
        return spec.named ? `${name}:${inner}` : inner;
      });
      return `${value instanceof View ? '&' : ''}{${parts.join(' ')}}`;
    }
    default:
      return bad(verb, value);
  }
}

function integerText(verb: string, value: bigint, spec: Spec): string | undefined {
  const radix = { d: 10, v: 10, b: 2, o: 8, O: 8, x: 16, X: 16 }[verb];
  if (radix !== undefined) {
    const negative = value < 0n;
    let digits = (negative ? -value : value).toString(radix);
    if (verb === 'X') digits = digits.toUpperCase();
    const zeros = spec.zero && !spec.minus && spec.precision === undefined;
    if (spec.precision !== undefined)
      digits = spec.precision === 0 && value === 0n ? '' : digits.padStart(spec.precision, '0');
    if (zeros) digits = digits.padStart((spec.width ?? 0) - (negative || spec.plus || spec.space ? 1 : 0), '0');
    if (spec.sharp && verb === 'x') digits = `0x${digits}`;
    if (spec.sharp && verb === 'X') digits = `0X${digits}`;
    if (spec.sharp && verb === 'b') digits = `0b${digits}`;
    if (spec.sharp && verb === 'o' && !digits.startsWith('0')) digits = `0${digits}`;
    if (verb === 'O') digits = `0o${digits}`;
    const sign = negative ? '-' : spec.plus ? '+' : spec.space ? ' ' : '';
    return pad(sign + digits, spec, false);
  }
  const code = value >= 0n && value <= 0x10ffffn ? Number(value) : 0xfffd;
  if (verb === 'c') return pad(String.fromCodePoint(code), spec);
  if (verb === 'q') return pad(quoteText(String.fromCodePoint(code), "'", spec.plus), spec);
  if (verb === 'U') {
    const hex = `U+${value.toString(16).toUpperCase().padStart(4, '0')}`;
    return pad(spec.sharp ? `${hex} '${String.fromCodePoint(code)}'` : hex, { ...spec, zero: false });
  }
  return undefined;
}

function floatVerb(verb: string, value: number, spec: Spec): string | undefined {
  let digits: string;
  const { precision } = spec;
  const magnitude = Math.abs(value);
  if (!Number.isFinite(value)) digits = floatText(magnitude);
  else if (verb === 'e' || verb === 'E') digits = exponent(magnitude.toExponential(precision ?? 6));
  else if (verb === 'f' || verb === 'F') digits = magnitude.toFixed(precision ?? 6);
  else if (verb === 'v' || verb === 'g' || verb === 'G') {
    if (precision === undefined) {
      // %g turns to exponents at 1e21, as %v does.
      digits = floatText(magnitude);
    } else {
      const significant = Math.max(1, precision);
      const scale = magnitude === 0 ? 0 : Number(magnitude.toExponential(significant - 1).split('e')[1]);
      digits =
        scale < -4 || scale >= significant
          ? exponent(magnitude.toExponential(significant - 1).replace(/\.?0+e/, 'e'))
          : magnitude
              .toFixed(significant - 1 - scale)
              .replace(/(\.\d*?)0+$/, '$1')
              .replace(/\.$/, '');
    }
  } else return undefined;
  if (verb === 'E' || verb === 'G') digits = digits.toUpperCase();
  const negative = value < 0 || Object.is(value, -0);
  return pad((negative ? '-' : spec.plus ? '+' : spec.space ? ' ' : '') + digits, {
    ...spec,
    zero: spec.zero && Number.isFinite(value),
  });
}

function stringText(verb: string, value: string, spec: Spec): string | undefined {
  const cut = spec.precision === undefined ? value : Array.from(value).slice(0, spec.precision).join('');
  switch (verb) {
    case 's':
    case 'v':
      return pad(cut, spec);
    case 'q':
      if (spec.sharp && !/[`\p{Cc}]/u.test(cut.replaceAll('\t', ''))) return pad(`\`${cut}\``, spec);
      return pad(quoteText(cut, '"', spec.plus), spec);
    case 'x':
    case 'X': {
      let bytes = Buffer.from(value);
      if (spec.precision !== undefined) bytes = bytes.subarray(0, spec.precision);
      const parts = [...bytes].map((byte) => byte.toString(16).padStart(2, '0'));
      const prefix = spec.sharp ? '0x' : '';
      const hex = spec.space
        ? parts.map((part) => prefix + part).join(' ')
        : parts.length === 0
          ? ''
          : prefix + parts.join('');
      return pad(verb === 'X' ? hex.toUpperCase() : hex, spec);
    }
    default:
      return undefined;
  }
}

/** `%#v`. */
function goSyntax(value: unknown): string {
  switch (kindOf(value)) {
    case 'invalid':
    case 'nil':
      return '<nil>';
    case 'string':
      return quoteText(value as string);
    case 'slice':
      return Array.isArray(value) ? `${typeName(value)}{${value.map(goSyntax).join(', ')}}` : `${typeName(value)}(nil)`;
    case 'map':
      return value instanceof Map
        ? `${typeName(value)}{${entries(value)
            .map(([key, element]) => `${quoteText(key)}:${goSyntax(element)}`)
            .join(', ')}}`
        : `${typeName(value)}(nil)`;
    case 'struct':
      return `${typeName(value)}{${fieldNames(value as object)
        .map((name) => `${name}:${goSyntax(field(value as object, name)?.value)}`)
        .join(', ')}}`;
    default:
      return valueText(value);
  }
}
