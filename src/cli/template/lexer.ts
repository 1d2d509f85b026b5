/** What a template's text is made of. */
export type TokenKind =
  | 'text'
  | 'open' // {{
  | 'close' // }}
  | 'space'
  | 'identifier'
  | 'keyword'
  | 'field' // .Name
  | 'variable' // $name, or $ alone
  | 'dot'
  | 'nil'
  | 'bool'
  | 'number'
  | 'char'
  | 'string'
  | 'raw'
  | 'pipe'
  | 'comma'
  | 'assign'
  | 'declare'
  | 'left'
  | 'right'
  | 'other' // any other character: never right, but it is the parser that says so
  | 'eof'
  | 'error';

export interface Token {
  readonly kind: TokenKind;
  readonly text: string;
  /** Offset in the template's text. */
  readonly at: number;
  readonly line: number;
}

const keywords = new Set(['block', 'break', 'continue', 'define', 'else', 'end', 'if', 'range', 'template', 'with']);
const spaceChars = ' \t\r\n';
const wordChar = /[\p{L}\p{Nd}_]/u;
/** What may follow a field, variable or number. */
const terminators = new Set(['', ' ', '\t', '\r', '\n', '.', ',', '|', ':', ')', '(']);

/** Cuts a template into tokens. The last one is `eof`, or `error` with what is wrong. */
export function lex(input: string): Token[] {
  const tokens: Token[] = [];
  let at = 0;
  let line = 1;
  const push = (kind: TokenKind, text: string, start: number): void => {
    tokens.push({ kind, text, at: start, line });
  };
  const advance = (to: number): void => {
    for (let i = at; i < to; i++) if (input[i] === '\n') line++;
    at = to;
  };
  const fail = (message: string): Token[] => {
    push('error', message, at);
    return tokens;
  };

  let trimNext = false;
  for (;;) {
    const open = input.indexOf('{{', at);
    let text = input.slice(at, open < 0 ? undefined : open);
    const start = at;
    const trimRight = open >= 0 && input[open + 2] === '-' && isSpace(input[open + 3]);
    let from = 0;
    if (trimNext) from = text.length - text.replace(/^[ \t\r\n]+/, '').length;
    let to = text.length;
    if (trimRight) to = Math.max(from, text.replace(/[ \t\r\n]+$/, '').length);
    text = text.slice(from, to);
    if (text !== '') {
      // The token's line is where its text begins.
      advance(start + from);
      push('text', text, at);
    }
    advance(open < 0 ? input.length : open);
    if (open < 0) {
      push('eof', '', at);
      return tokens;
    }
    const inside = open + 2 + (trimRight ? 2 : 0);
    if (input.startsWith('/*', inside)) {
      const end = input.indexOf('*/', inside);
      if (end < 0) {
        advance(inside);
        return fail('unclosed comment');
      }
      const close = closing(input, end + 2);
      if (close === undefined) {
        advance(inside);
        return fail('comment ends before closing delimiter');
      }
      trimNext = close.trim;
      advance(close.end);
      continue;
    }
    push('open', '{{', open);
    advance(inside);
    const closed = action(inside);
    if (closed === undefined) return tokens;
    trimNext = closed.trim;
    push('close', '}}', at);
    advance(closed.end);
  }

  /** The tokens of one action, up to its `}}`; undefined after an error. */
  function action(begin: number): { end: number; trim: boolean } | undefined {
    at = begin;
    let depth = 0;
    for (;;) {
      const close = closing(input, at);
      if (close !== undefined) {
        if (depth > 0) return void fail('unclosed left paren');
        return close;
      }
      const char = charAt(input, at);
      if (char === '') return void fail('unclosed action');
      if (isSpace(char)) {
        let end = at;
        // A trim mark belongs to the delimiter, and the space before it too.
        while (isSpace(input[end]) && !input.startsWith(' -}}', end)) end++;
        if (end === at) end = at + 1;
        push('space', input.slice(at, end), at);
        advance(end);
        continue;
      }
      const start = at;
      const one = (kind: TokenKind): void => {
        push(kind, char, start);
        advance(start + char.length);
      };
      if (char === '=') one('assign');
      else if (char === ':') {
        if (input[at + 1] !== '=') return void fail('expected :=');
        push('declare', ':=', at);
        advance(at + 2);
      } else if (char === '|') one('pipe');
      else if (char === ',') one('comma');
      else if (char === '(') {
        depth++;
        one('left');
      } else if (char === ')') {
        depth--;
        if (depth < 0) return void fail('unexpected right paren');
        one('right');
      } else if (char === '"' || char === '`' || char === "'") {
        if (!quoted(char)) return undefined;
      } else if (char === '.' && !/[0-9]/.test(input[at + 1] ?? '') && at + 1 < input.length) {
        if (!word('field', at + 1)) return undefined;
      } else if (char === '$') {
        if (!word('variable', at + 1)) return undefined;
      } else if (/[+\-.0-9]/.test(char)) {
        if (!number()) return undefined;
      } else if (wordChar.test(char)) {
        if (!word('identifier', at)) return undefined;
      } else if (/[!-~]/.test(char)) one('other');
      else return void fail(`unrecognized character in action: ${characterName(char)}`);
    }
  }

  function quoted(mark: string): boolean {
    let end = at + 1;
    for (;;) {
      const char = input[end];
      if (char === undefined || (char === '\n' && mark !== '`')) {
        const what = { '"': 'quoted string', '`': 'raw quoted string', "'": 'character constant' }[mark];
        fail(`unterminated ${what}`);
        return false;
      }
      if (char === mark) break;
      if (char === '\\' && mark !== '`') {
        if (input[end + 1] === undefined || input[end + 1] === '\n') {
          fail(`unterminated ${mark === '"' ? 'quoted string' : 'character constant'}`);
          return false;
        }
        end++;
      }
      end++;
    }
    push(mark === '"' ? 'string' : mark === '`' ? 'raw' : 'char', input.slice(at, end + 1), at);
    advance(end + 1);
    return true;
  }

  function word(kind: 'field' | 'variable' | 'identifier', from: number): boolean {
    let end = from;
    for (let char = charAt(input, end); char !== '' && wordChar.test(char); char = charAt(input, end))
      end += char.length;
    const next = charAt(input, end);
    if (!terminators.has(next) && closing(input, end) === undefined) {
      fail(`bad character ${characterName(next)}`);
      return false;
    }
    const text = input.slice(at, end);
    if (kind === 'field') push(text === '.' ? 'dot' : 'field', text, at);
    else if (kind === 'variable') push('variable', text, at);
    else if (keywords.has(text)) push('keyword', text, at);
    else if (text === 'true' || text === 'false') push('bool', text, at);
    else if (text === 'nil') push('nil', text, at);
    else push('identifier', text, at);
    advance(end);
    return true;
  }

  function number(): boolean {
    const match =
      /^[+-]?(?:0[xX][0-9a-fA-F_]*(?:\.[0-9a-fA-F_]*)?(?:[pP][+-]?[0-9_]*)?|0[bB][01_]*|0[oO][0-7_]*|[0-9_]*(?:\.[0-9_]*)?(?:[eE][+-]?[0-9_]*)?)i?/.exec(
        input.slice(at),
      );
    const text = match?.[0] ?? '';
    const next = charAt(input, at + text.length);
    if (wordChar.test(next) || next === '+' || next === '-') {
      const more = wordChar.test(next) ? next : (/^[+-][0-9.]*/.exec(input.slice(at + text.length))?.[0] ?? next);
      fail(`bad number syntax: ${JSON.stringify(text + more)}`);
      return false;
    }
    push('number', text, at);
    advance(at + text.length);
    return true;
  }
}

function isSpace(char: string | undefined): boolean {
  return char !== undefined && char !== '' && spaceChars.includes(char);
}

function charAt(input: string, at: number): string {
  const code = input.codePointAt(at);
  return code === undefined ? '' : String.fromCodePoint(code);
}

/** `}}` or ` -}}` at this place: where it ends, and whether the text behind it loses its leading space. */
function closing(input: string, at: number): { end: number; trim: boolean } | undefined {
  if (input.startsWith('}}', at)) return { end: at + 2, trim: false };
  if (isSpace(input[at]) && input.startsWith('-}}', at + 1)) return { end: at + 4, trim: true };
  return undefined;
}

/** `U+0040 '@'` */
function characterName(char: string): string {
  if (char === '') return 'U+FFFFFFFFFFFFFFFF';
  const code = (char.codePointAt(0) as number).toString(16).toUpperCase().padStart(4, '0');
  return /[\p{L}\p{M}\p{N}\p{P}\p{S} ]/u.test(char) ? `U+${code} '${char}'` : `U+${code}`;
}
