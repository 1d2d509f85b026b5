import { Nil } from '../../api/docker/nil.ts';
import { type Functions, type ParameterType, builtins } from './functions.ts';
import { type Node, type Operand, type Pipeline, type Command, spell, spellCommand, spellPipeline } from './nodes.ts';
import { type Template, TemplateError } from './parser.ts';
import { quoteText, valueText } from './print.ts';
import { View, elements, entries, field, kindOf, truth, typeName } from './values.ts';

/** Marks the absence of a value from an earlier stage of the pipeline. */
const missing: unique symbol = Symbol('missing');
type Final = unknown;

/** Nested `{{template}}` calls allowed; far below what JavaScript's stack holds. */
const maxDepth = 500;

class Break extends Error {}
class Continue extends Error {}

export interface ExecuteOptions {
  /** Beside Go's own. */
  readonly functions?: Functions;
  /** A key that a map lacks is an error rather than `<no value>`. */
  readonly missingKeyError?: boolean;
}

/** The text that a template makes of `data`. Throws a TemplateError with Go's words. */
export function execute(template: Template, data: unknown, options: ExecuteOptions = {}): string {
  const out: string[] = [];
  new State(template, '', out, options, 0, data).walkAll(data, template.trees.get('') ?? []);
  return out.join('');
}

interface Variable {
  readonly name: string;
  value: unknown;
}

class State {
  readonly #template: Template;
  readonly #name: string;
  readonly #out: string[];
  readonly #options: ExecuteOptions;
  readonly #depth: number;
  readonly #variables: Variable[];
  /** Where errors happen, and how the place is spelled. */
  #at = 0;
  #spelling: () => string = () => '';

  constructor(template: Template, name: string, out: string[], options: ExecuteOptions, depth: number, dot: unknown) {
    this.#template = template;
    this.#name = name;
    this.#out = out;
    this.#options = options;
    this.#depth = depth;
    this.#variables = [{ name: '$', value: dot }];
  }

  #fail(message: string): never {
    const before = this.#template.text.slice(0, this.#at);
    const line = before.split('\n').length;
    const column = before.length - (before.lastIndexOf('\n') + 1);
    const place = `:${line}:${Buffer.byteLength(before.slice(before.length - column))}`;
    throw new TemplateError(
      `template: ${place}: executing ${quoteText(this.#name)} at <${this.#spelling()}>: ${message}`,
    );
  }

  #mark(at: number, spelling: () => string): void {
    this.#at = at;
    this.#spelling = spelling;
  }

  #markOperand(operand: Operand): void {
    this.#mark(operand.at, () => spell(operand));
  }

  walkAll(dot: unknown, nodes: readonly Node[]): void {
    for (const node of nodes) this.#walk(dot, node);
  }

  #walk(dot: unknown, node: Node): void {
    switch (node.node) {
      case 'text':
        this.#out.push(node.text);
        return;
      case 'action': {
        const value = this.#pipeline(dot, node.pipeline);
        if (node.pipeline.variables.length > 0) return;
        this.#mark(node.at, () => `{{${spellPipeline(node.pipeline)}}}`);
        if (typeof value === 'function') this.#fail(`can't print ${this.#spelling()} of type ${typeName(value)}`);
        this.#out.push(value === undefined ? '<no value>' : printable(value));
        return;
      }
      case 'break':
        throw new Break();
      case 'continue':
        throw new Continue();
      case 'if':
      case 'with': {
        const scope = this.#variables.length;
        try {
          const value = this.#pipeline(dot, node.pipeline);
          if (truth(value)) this.walkAll(node.node === 'with' ? value : dot, node.body);
          else if (node.otherwise) this.walkAll(dot, node.otherwise);
        } finally {
          this.#variables.length = scope;
        }
        return;
      }
      case 'range':
        this.#range(dot, node);
        return;
      case 'template': {
        this.#mark(
          node.at,
          () => `{{template ${quoteText(node.name)}${node.pipeline ? ` ${spellPipeline(node.pipeline)}` : ''}}}`,
        );
        const nodes = this.#template.trees.get(node.name);
        if (nodes === undefined) this.#fail(`template ${quoteText(node.name)} not defined`);
        if (this.#depth === maxDepth) this.#fail(`exceeded maximum template depth (${maxDepth})`);
        const value = node.pipeline ? this.#pipeline(dot, node.pipeline) : undefined;
        new State(this.#template, node.name, this.#out, this.#options, this.#depth + 1, value).walkAll(value, nodes);
      }
    }
  }

  #range(dot: unknown, node: Node & { node: 'if' | 'with' | 'range' }): void {
    const outer = this.#variables.length;
    try {
      this.#mark(node.at, () => `{{range ${spellPipeline(node.pipeline)}}}`);
      const value = this.#pipeline(dot, node.pipeline);
      const { variables, assign } = node.pipeline;
      const scope = this.#variables.length;
      const iterate = (key: unknown, element: unknown): boolean => {
        const [first, second] = variables;
        if (first !== undefined) {
          if (assign) this.#assign(first, second === undefined ? element : key);
          else (this.#variables[scope - 1] as Variable).value = element;
        }
        if (second !== undefined) {
          if (assign) this.#assign(second, element);
          else (this.#variables[scope - 2] as Variable).value = key;
        }
        try {
          this.walkAll(element, node.body);
        } catch (error) {
          if (error instanceof Break) return false;
          if (!(error instanceof Continue)) throw error;
        } finally {
          this.#variables.length = scope;
        }
        return true;
      };
      let pairs: Iterable<readonly [unknown, unknown]>;
      switch (kindOf(value)) {
        case 'slice':
          pairs = elements(value).entries();
          break;
        case 'map':
          pairs = entries(value);
          break;
        case 'int': {
          if (variables.length > 1) this.#fail(`can't use ${valueText(value)} to iterate over more than one variable`);
          pairs = count(Number(value));
          break;
        }
        case 'invalid':
          pairs = [];
          break;
        default:
          return this.#fail(`range can't iterate over ${valueText(value)}`);
      }
      let any = false;
      for (const [key, element] of pairs) {
        any = true;
        if (!iterate(key, element ?? undefined)) return;
      }
      if (!any && node.otherwise) this.walkAll(dot, node.otherwise);
    } finally {
      this.#variables.length = outer;
    }
  }

  #assign(name: string, value: unknown): void {
    const variable = this.#variables.findLast((candidate) => candidate.name === name);
    if (variable === undefined) this.#fail(`undefined variable: ${name}`);
    variable.value = value;
  }

  #lookup(name: string): unknown {
    const variable = this.#variables.findLast((candidate) => candidate.name === name);
    if (variable === undefined) this.#fail(`undefined variable: ${name}`);
    return variable.value;
  }

  #pipeline(dot: unknown, pipeline: Pipeline): unknown {
    this.#mark(pipeline.at, () => spellPipeline(pipeline));
    let value: Final = missing;
    for (const command of pipeline.commands) {
      value = this.#command(dot, command, value);
      if (value === null) value = undefined;
    }
    for (const name of pipeline.variables) {
      if (pipeline.assign) this.#assign(name, value);
      else this.#variables.push({ name, value });
    }
    return value;
  }

  #notFunction(command: readonly Operand[], final: Final): void {
    if (command.length > 1 || final !== missing)
      this.#fail(`can't give argument to non-function ${spell(command[0] as Operand)}`);
  }

  #command(dot: unknown, command: Command, final: Final): unknown {
    const first = command.args[0] as Operand;
    switch (first.node) {
      case 'field':
      case 'chain':
      case 'variable':
        return this.#reference(dot, first, command.args, final);
      case 'identifier':
        return this.#function(dot, first, command.args, final);
      case 'pipeline':
        this.#notFunction(command.args, final);
        return this.#pipeline(dot, first.pipeline);
      default:
    }
    this.#markOperand(first);
    this.#notFunction(command.args, final);
    switch (first.node) {
      case 'dot':
        return dot;
      case 'nil':
        return this.#fail('nil is not a command');
      default:
        return this.#constant(first);
    }
  }

  #reference(
    dot: unknown,
    operand: Operand & { node: 'field' | 'chain' | 'variable' },
    args: readonly Operand[],
    final: Final,
  ): unknown {
    this.#markOperand(operand);
    switch (operand.node) {
      case 'field':
        return this.#fields(dot, dot, operand.names, args, final);
      case 'variable': {
        const value = this.#lookup(operand.name);
        if (operand.names.length === 0) {
          this.#notFunction(args, final);
          return value;
        }
        return this.#fields(dot, value, operand.names, args, final);
      }
      default: {
        if (operand.operand.node === 'nil') this.#fail(`indirection through explicit nil in ${spell(operand)}`);
        const value = this.#argument(dot, operand.operand, 'any');
        return this.#fields(dot, value, operand.names, args, final);
      }
    }
  }

  #fields(dot: unknown, receiver: unknown, names: readonly string[], args: readonly Operand[], final: Final): unknown {
    let value = receiver;
    for (const name of names.slice(0, -1)) value = this.#field(dot, name, [], missing, value);
    return this.#field(dot, names.at(-1) as string, args, final, value);
  }

  #field(dot: unknown, name: string, args: readonly Operand[], final: Final, receiver: unknown): unknown {
    const hasArgs = args.length > 1 || final !== missing;
    if (receiver === undefined) {
      if (this.#options.missingKeyError) this.#fail(`nil data; no entry for key ${quoteText(name)}`);
      return undefined;
    }
    if (receiver === null) this.#fail(`nil pointer evaluating interface {}.${name}`);
    if (receiver instanceof View) {
      const method = Object.hasOwn(receiver.methods, name) ? receiver.methods[name] : undefined;
      if (method) {
        const got = args.slice(1).length + (final === missing ? 0 : 1);
        if (got !== method.length) this.#fail(`wrong number of args for ${name}: want ${method.length} got ${got}`);
        const values = args.slice(1).map((arg) => this.#argument(dot, arg, 'string'));
        if (final !== missing) values.push(this.#checkType(final, 'string'));
        return method(...(values as string[]));
      }
    }
    switch (kindOf(receiver)) {
      case 'struct': {
        const found = field(receiver, name);
        if (found) {
          if (hasArgs)
            this.#fail(
              receiver instanceof View
                ? `wrong number of args for ${name}: want 0 got ${args.length - 1 + (final === missing ? 0 : 1)}`
                : `${name} has arguments but cannot be invoked as function`,
            );
          return found.value;
        }
        break;
      }
      case 'map': {
        if (hasArgs) this.#fail(`${name} is not a method but has arguments`);
        const found = receiver instanceof Map ? (receiver as Map<string, unknown>).get(name) : undefined;
        if (found === undefined && this.#options.missingKeyError)
          this.#fail(`map has no entry for key ${quoteText(name)}`);
        return found;
      }
      case 'nil':
        return this.#fail(`nil pointer evaluating ${typeName(receiver)}.${name}`);
      default:
    }
    return this.#fail(`can't evaluate field ${name} in type ${typeName(receiver)}`);
  }

  #function(dot: unknown, node: Operand & { node: 'identifier' }, args: readonly Operand[], final: Final): unknown {
    this.#markOperand(node);
    const { name } = node;
    const own = this.#options.functions?.get(name);
    const fn = own ?? builtins.get(name);
    if (fn === undefined) this.#fail(`${quoteText(name)} is not a defined function`);
    const rest = args.slice(1);
    const count_ = rest.length + (final === missing ? 0 : 1);
    const fixed = fn.parameters.length;
    if (fn.variadic !== undefined) {
      if (count_ < fixed) this.#fail(`wrong number of args for ${name}: want at least ${fixed} got ${rest.length}`);
    } else if (count_ !== fixed) this.#fail(`wrong number of args for ${name}: want ${fixed} got ${count_}`);
    const typeOf = (i: number): ParameterType => fn.parameters[i] ?? fn.variadic ?? 'any';

    if (own === undefined && (name === 'and' || name === 'or')) {
      let value: unknown;
      for (const arg of rest) {
        value = this.#argument(dot, arg, 'any');
        if (truth(value) === (name === 'or')) return value;
      }
      return final === missing ? value : final;
    }
    const values = rest.map((arg, i) => this.#argument(dot, arg, typeOf(i)));
    if (final !== missing) values.push(this.#checkType(final, typeOf(values.length)));
    try {
      return (fn.call as (...values: unknown[]) => unknown)(...values);
    } catch (error) {
      if (error instanceof TemplateError || !(error instanceof Error)) throw error;
      this.#mark(node.at, () => spellCommand({ at: node.at, args }));
      return this.#fail(`error calling ${name}: ${error.message}`);
    }
  }

  /** The value of an argument for a parameter of this type. */
  #argument(dot: unknown, arg: Operand, type: ParameterType): unknown {
    this.#markOperand(arg);
    switch (arg.node) {
      case 'dot':
        return this.#checkType(dot, type);
      case 'nil':
        if (type === 'string' || type === 'int') this.#fail(`cannot assign nil to ${type}`);
        return type === 'any' ? undefined : [];
      case 'field':
      case 'variable':
      case 'chain':
        return this.#checkType(this.#reference(dot, arg, [arg], missing), type);
      case 'pipeline':
        return this.#checkType(this.#pipeline(dot, arg.pipeline), type);
      case 'identifier':
        return this.#checkType(this.#function(dot, arg, [arg], missing), type);
      default:
    }
    if (type === 'string' && arg.node !== 'string') this.#fail(`expected string; found ${spell(arg)}`);
    if (type === 'int' && !(arg.node === 'number' && kindOf(arg.value) === 'int'))
      this.#fail(`expected integer; found ${spell(arg)}`);
    if (type === '[]string') this.#fail(`can't handle ${spell(arg)} for arg of type []string`);
    return this.#constant(arg);
  }

  #constant(operand: Operand & { value: unknown }): unknown {
    if (typeof operand.value === 'bigint' && operand.value >= 2n ** 63n) this.#fail(`${spell(operand)} overflows int`);
    return operand.value;
  }

  #checkType(value: unknown, type: ParameterType): unknown {
    if (type === 'any') return value;
    if (value === undefined || value === null) {
      if (type === '[]string') return [];
      if (value === null) this.#fail(`wrong type for value; expected ${type}; got interface {}`);
      this.#fail(`invalid value; expected ${type}`);
    }
    const matches =
      type === '[]string'
        ? kindOf(value) === 'slice' && elements(value).every((element) => typeof element === 'string')
        : kindOf(value) === type;
    if (!matches) this.#fail(`wrong type for value; expected ${type}; got ${typeName(value)}`);
    return value instanceof Nil ? [] : value;
  }
}

/** A pointer to a struct prints as the struct it points to. */
function printable(value: unknown): string {
  const text = valueText(value);
  return value instanceof View ? text.slice(1) : text;
}

function* count(n: number): Generator<readonly [unknown, unknown]> {
  for (let i = 0; i < n; i++) yield [undefined, i];
}
