import { Float, View, elements, entries, field, fieldNames, kindOf } from './values.ts';

/** A float64 as Go's `%v` prints it: the shortest digits that read back, an exponent below 1e-4 and from 1e6 on. */
export function floatText(x: number): string {
  if (Number.isNaN(x)) return 'NaN';
  if (!Number.isFinite(x)) return x > 0 ? '+Inf' : '-Inf';
  if (Object.is(x, -0)) return '-0';
  const scientific = x.toExponential();
  const scale = Number(scientific.slice(scientific.indexOf('e') + 1));
  return scale < -4 || scale >= 6 ? exponent(scientific) : String(x);
}

/** `1.5e+21` with at least two digits in the exponent, as Go has it. */
export function exponent(text: string): string {
  return text.replace(/e([+-])(\d)$/, 'e$10$2');
}

/** A value as Go prints it with `%v`. */
export function valueText(value: unknown, plus = false, depth = 0): string {
  switch (kindOf(value)) {
    case 'invalid':
    case 'nil':
      return '<nil>';
    case 'float':
      return floatText((value as Float).value);
    case 'slice':
      return `[${elements(value)
        .map((element) => valueText(element, plus, depth + 1))
        .join(' ')}]`;
    case 'map':
      return `map[${entries(value)
        .map(([key, element]) => `${key}:${valueText(element, plus, depth + 1)}`)
        .join(' ')}]`;
    case 'struct': {
      const object = value as object;
      if (object instanceof View && depth === 0) return `&${structText(object, plus, depth)}`;
      return structText(object, plus, depth);
    }
    case 'function':
      return '0x0';
    default:
      return String(value);
  }
}

function structText(object: object, plus: boolean, depth: number): string {
  const parts = fieldNames(object).map((name) => {
    const text = valueText(field(object, name)?.value, plus, depth + 1);
    return plus ? `${name}:${text}` : text;
  });
  return `{${parts.join(' ')}}`;
}

/** Go's fmt.Sprint: operands side by side, a space between two that aren't strings. */
export function sprint(operands: readonly unknown[]): string {
  let text = '';
  for (const [i, operand] of operands.entries()) {
    if (i > 0 && typeof operand !== 'string' && typeof operands[i - 1] !== 'string') text += ' ';
    text += valueText(operand);
  }
  return text;
}

/** Go's fmt.Sprintln. */
export function sprintln(operands: readonly unknown[]): string {
  return `${operands.map((operand) => valueText(operand)).join(' ')}\n`;
}

const escapes: Readonly<Record<string, string>> = {
  '\x07': '\\a',
  '\b': '\\b',
  '\f': '\\f',
  '\n': '\\n',
  '\r': '\\r',
  '\t': '\\t',
  '\v': '\\v',
  '\\': '\\\\',
};

/** Go's `%q`: in `quote` marks, with Go's escapes; `ascii` also escapes what isn't ASCII (`%+q`). */
export function quoteText(text: string, quote: '"' | "'" = '"', ascii = false): string {
  let body = '';
  for (const char of text) {
    const code = char.codePointAt(0) as number;
    if (char === quote) body += `\\${char}`;
    else if (escapes[char] !== undefined) body += escapes[char];
    else if (code < 0x20 || code === 0x7f) body += `\\x${code.toString(16).padStart(2, '0')}`;
    else if (code > 0x7e && (ascii || !isPrintable(char)))
      body += code > 0xffff ? `\\U${code.toString(16).padStart(8, '0')}` : `\\u${code.toString(16).padStart(4, '0')}`;
    else body += char;
  }
  return quote + body + quote;
}

/** Go's unicode.IsPrint: letters, marks, numbers, punctuation, symbols and the ASCII space. */
function isPrintable(char: string): boolean {
  return /[\p{L}\p{M}\p{N}\p{P}\p{S}]/u.test(char);
}
