import { type Token, type TokenKind, lex } from './lexer.ts';
import { parseCharacter, parseNumber, parseString } from './constants.ts';
import { type Command, type Node, type Operand, type Pipeline, spell } from './nodes.ts';
import { quoteText } from './print.ts';

/** A template that can't be parsed or carried out; the message is Go's. */
export class TemplateError extends Error {}

/** A template and those it defines, by name; the whole text has the name ''. */
export interface Template {
  readonly text: string;
  readonly trees: ReadonlyMap<string, readonly Node[]>;
}

type Terminator = 'end' | 'else' | 'eof';

/** Parses a template's text. `functions` are the names that may be called. Throws a TemplateError. */
export function parse(text: string, functions: ReadonlySet<string>): Template {
  return new Parser(text, functions).template();
}

class Parser {
  readonly #text: string;
  readonly #functions: ReadonlySet<string>;
  readonly #tokens: readonly Token[];
  readonly #trees = new Map<string, readonly Node[]>();
  #next = 0;
  #variables: string[] = ['$'];
  #rangeDepth = 0;

  constructor(text: string, functions: ReadonlySet<string>) {
    this.#text = text;
    this.#functions = functions;
    this.#tokens = lex(text);
  }

  template(): Template {
    const nodes: Node[] = [];
    for (;;) {
      const { list, terminator, token } = this.#list(true);
      nodes.push(...list);
      if (terminator === 'eof') break;
      this.#fail(`unexpected {{${terminator}}}`, token);
    }
    this.#trees.set('', nodes);
    return { text: this.#text, trees: this.#trees };
  }

  #fail(message: string, token: Token = this.#last()): never {
    throw new TemplateError(`template: :${token.line}: ${message}`);
  }

  #last(): Token {
    return this.#tokens[Math.max(0, Math.min(this.#next, this.#tokens.length) - 1)] as Token;
  }

  #take(): Token {
    const token = this.#tokens[Math.min(this.#next, this.#tokens.length - 1)] as Token;
    this.#next++;
    return token;
  }

  #peek(): Token {
    return this.#tokens[Math.min(this.#next, this.#tokens.length - 1)] as Token;
  }

  #takeSolid(): Token {
    while (this.#peek().kind === 'space') this.#next++;
    return this.#take();
  }

  #peekSolid(): Token {
    while (this.#peek().kind === 'space') this.#next++;
    return this.#peek();
  }

  #unexpected(token: Token, context: string): never {
    if (token.kind === 'error') this.#fail(token.text, token);
    this.#fail(`unexpected ${tokenText(token)} in ${context}`, token);
  }

  #expect(kind: TokenKind, context: string): Token {
    const token = this.#takeSolid();
    if (token.kind !== kind) this.#unexpected(token, context);
    return token;
  }

  /** Nodes up to `{{end}}`, `{{else…}}` or the end of the text. After `else`, its keyword is taken and what follows it isn't. */
  #list(top = false): { list: Node[]; terminator: Terminator; token: Token } {
    const list: Node[] = [];
    for (;;) {
      const token = this.#takeSolid();
      if (token.kind === 'text') {
        list.push({ node: 'text', text: token.text, at: token.at });
        continue;
      }
      if (token.kind === 'eof') {
        if (!top) this.#fail('unexpected EOF', token);
        return { list, terminator: 'eof', token };
      }
      if (token.kind !== 'open') this.#unexpected(token, 'input');
      const word = this.#peekSolid();
      if (word.kind === 'keyword') {
        if (word.text === 'end') {
          this.#takeSolid();
          this.#expect('close', 'end');
          return { list, terminator: 'end', token: word };
        }
        if (word.text === 'else') {
          this.#takeSolid();
          if (top) {
            // `{{else if}}` outside of everything: Go complains of the else.
            const next = this.#peekSolid();
            if (next.kind === 'close') this.#takeSolid();
            else if (!(next.kind === 'keyword' && (next.text === 'if' || next.text === 'with')))
              this.#unexpected(this.#takeSolid(), 'else');
          }
          return { list, terminator: 'else', token: word };
        }
        if (word.text === 'define') {
          if (!top) this.#unexpected(this.#takeSolid(), 'command');
          this.#takeSolid();
          this.#define();
          continue;
        }
      }
      const node = this.#action();
      if (node) list.push(node);
    }
  }

  #define(): void {
    const context = 'define clause';
    const name = this.#name(context);
    this.#expect('close', context);
    const variables = this.#variables;
    this.#variables = ['$'];
    const depth = this.#rangeDepth;
    this.#rangeDepth = 0;
    const { list, terminator, token } = this.#list();
    if (terminator !== 'end') this.#unexpectedTerminator(token, context);
    this.#variables = variables;
    this.#rangeDepth = depth;
    this.#addTree(name, list);
  }

  #unexpectedTerminator(token: Token, context: string): never {
    return this.#fail(`unexpected {{${token.text}}} in ${context}`, token);
  }

  #addTree(name: string, list: readonly Node[]): void {
    if (this.#trees.has(name) && !isEmpty(list) && !isEmpty(this.#trees.get(name) as readonly Node[]))
      this.#fail(`template: multiple definition of template ${quoteText(name)}`);
    if (!this.#trees.has(name) || !isEmpty(list)) this.#trees.set(name, list);
  }

  #name(context: string): string {
    const token = this.#takeSolid();
    if (token.kind !== 'string' && token.kind !== 'raw') this.#unexpected(token, context);
    return this.#unquote(token);
  }

  #unquote(token: Token): string {
    try {
      return parseString(token.text);
    } catch {
      return this.#fail('invalid syntax', token);
    }
  }

  /** What stands between the braces, the closing ones included. */
  #action(): Node | undefined {
    const token = this.#takeSolid();
    if (token.kind === 'keyword') {
      switch (token.text) {
        case 'if':
        case 'with':
        case 'range':
          return this.#control(token.text, token);
        case 'break':
        case 'continue': {
          this.#expect('close', `{{${token.text}}}`);
          if (this.#rangeDepth === 0) this.#fail(`{{${token.text}}} outside {{range}}`, token);
          return { node: token.text, at: token.at };
        }
        case 'template': {
          const context = 'template clause';
          const { at } = this.#peekSolid();
          const name = this.#name(context);
          let pipeline: Pipeline | undefined;
          if (this.#peekSolid().kind === 'close') this.#takeSolid();
          else pipeline = this.#pipeline(context, 'close');
          return { node: 'template', name, pipeline, at };
        }
        case 'block': {
          const context = 'block clause';
          const { at } = this.#peekSolid();
          const name = this.#name(context);
          const pipeline = this.#pipeline(context, 'close');
          const variables = this.#variables;
          this.#variables = ['$'];
          const { list, terminator, token: end } = this.#list();
          if (terminator !== 'end') this.#unexpectedTerminator(end, context);
          this.#variables = variables;
          this.#addTree(name, list);
          return { node: 'template', name, pipeline, at };
        }
        default:
      }
    }
    this.#next--;
    const start = this.#peek();
    const pipeline = this.#pipeline('command', 'close');
    return { node: 'action', pipeline, at: start.at };
  }

  #control(kind: 'if' | 'with' | 'range', token: Token): Node {
    const scope = this.#variables.length;
    const pipeline = this.#pipeline(kind, 'close');
    if (kind === 'range') this.#rangeDepth++;
    const { list: body, terminator } = this.#list();
    if (kind === 'range') this.#rangeDepth--;
    let otherwise: readonly Node[] | undefined;
    if (terminator === 'else') {
      const next = this.#peekSolid();
      if (next.kind === 'keyword' && kind !== 'range' && next.text === kind) {
        // `{{else if}}` is `{{else}}{{if}}` with one end for both.
        this.#takeSolid();
        otherwise = [this.#control(kind, next)];
      } else {
        if (next.kind === 'keyword' && (next.text === 'if' || next.text === 'with')) this.#unexpected(next, 'input');
        this.#expect('close', 'else');
        const rest = this.#list();
        if (rest.terminator !== 'end') this.#fail(`expected end; found {{else}}`, rest.token);
        otherwise = rest.list;
      }
    }
    this.#variables.length = scope;
    return { node: kind, pipeline, body, otherwise, at: token.at };
  }

  #pipeline(context: string, end: 'close' | 'right'): Pipeline {
    const first = this.#peekSolid();
    const variables: string[] = [];
    let assign = false;
    // Variables come first: `$x :=`, `$x =`, and in a range also `$i, $x :=`.
    for (;;) {
      const variable = this.#peekSolid();
      if (variable.kind !== 'variable') break;
      const mark = this.#next;
      this.#take();
      const next = this.#peekSolid();
      if (next.kind === 'assign' || next.kind === 'declare') {
        this.#takeSolid();
        variables.push(variable.text);
        assign = next.kind === 'assign';
        if (!assign) this.#variables.push(variable.text);
        break;
      }
      if (next.kind === 'comma' && context === 'range' && variables.length < 2) {
        this.#takeSolid();
        variables.push(variable.text);
        this.#variables.push(variable.text);
        const follower = this.#peekSolid();
        if (follower.kind === 'variable' && variables.length < 2) continue;
        if (follower.kind === 'variable') this.#fail(`too many declarations in ${context}`, follower);
        this.#fail('range can only initialize variables', follower);
      }
      if (next.kind === 'comma' && context !== 'range') this.#fail(`too many declarations in ${context}`, next);
      this.#next = mark;
      break;
    }
    const commands: Command[] = [];
    for (;;) {
      const token = this.#takeSolid();
      if (token.kind === end) {
        this.#check(commands, context, token);
        return { at: first.at, line: first.line, variables, assign, commands };
      }
      if (!operandStarts.has(token.kind)) this.#unexpected(token, context);
      this.#next--;
      commands.push(this.#command());
    }
  }

  #check(commands: readonly Command[], context: string, token: Token): void {
    if (commands.length === 0) this.#fail(`missing value for ${context}`, token);
    for (const [i, { args }] of commands.entries()) {
      const [first] = args;
      if (i > 0 && first && ['bool', 'dot', 'nil', 'number', 'string'].includes(first.node))
        this.#fail(`non executable command in pipeline stage ${i + 1}`, token);
    }
  }

  #command(): Command {
    const { at } = this.#peekSolid();
    const args: Operand[] = [];
    for (;;) {
      this.#peekSolid();
      const operand = this.#operand();
      if (operand) args.push(operand);
      const token = this.#take();
      if (token.kind === 'space') continue;
      if (token.kind === 'close' || token.kind === 'right') this.#next--;
      else if (token.kind !== 'pipe') this.#unexpected(token, 'operand');
      break;
    }
    if (args.length === 0) this.#fail('empty command');
    return { at, args };
  }

  #operand(): Operand | undefined {
    const term = this.#term();
    if (term === undefined) return undefined;
    if (this.#peek().kind !== 'field') return term;
    const { at } = this.#peek();
    const names: string[] = [];
    while (this.#peek().kind === 'field') names.push(this.#take().text.slice(1));
    switch (term.node) {
      case 'field':
        return { node: 'field', names: [...term.names, ...names], at };
      case 'variable':
        return { node: 'variable', name: term.name, names: [...term.names, ...names], at };
      case 'bool':
      case 'string':
      case 'number':
      case 'nil':
      case 'dot': {
        const shown = spell(term);
        return this.#fail(`unexpected . after term ${quoteText(shown)}`);
      }
      default:
        return { node: 'chain', operand: term, names, at };
    }
  }

  #term(): Operand | undefined {
    const token = this.#takeSolid();
    const { at } = token;
    switch (token.kind) {
      case 'identifier':
        if (!this.#functions.has(token.text)) this.#fail(`function ${quoteText(token.text)} not defined`, token);
        return { node: 'identifier', name: token.text, at };
      case 'dot':
        return { node: 'dot', at };
      case 'nil':
        return { node: 'nil', at };
      case 'variable':
        if (!this.#variables.includes(token.text)) this.#fail(`undefined variable ${quoteText(token.text)}`, token);
        return { node: 'variable', name: token.text, names: [], at };
      case 'field':
        return { node: 'field', names: [token.text.slice(1)], at };
      case 'bool':
        return { node: 'bool', value: token.text === 'true', at };
      case 'char':
      case 'number': {
        const value = token.kind === 'char' ? parseCharacter(token.text) : parseNumber(token.text);
        if (typeof value === 'object' && 'problem' in value) this.#fail(value.problem, token);
        return { node: 'number', text: token.text, value, at };
      }
      case 'string':
      case 'raw':
        return { node: 'string', text: token.text, value: this.#unquote(token), at };
      case 'left':
        return { node: 'pipeline', pipeline: this.#pipeline('parenthesized pipeline', 'right'), at };
      default:
        this.#next--;
        return undefined;
    }
  }
}

const operandStarts: ReadonlySet<TokenKind> = new Set([
  'bool',
  'char',
  'dot',
  'field',
  'identifier',
  'number',
  'nil',
  'raw',
  'string',
  'variable',
  'left',
]);

function isEmpty(nodes: readonly Node[]): boolean {
  return nodes.every((node) => node.node === 'text' && node.text.trim() === '');
}

function tokenText(token: Token): string {
  if (token.kind === 'eof') return 'EOF';
  if (token.kind === 'keyword' || token.kind === 'dot' || token.kind === 'nil') return `<${token.text}>`;
  const chars = Array.from(token.text);
  return chars.length > 10 ? `${quoteText(chars.slice(0, 10).join(''))}...` : quoteText(token.text);
}
