/** A parsed template. `at` is the offset that errors point to. */
interface At {
  readonly at: number;
}

export type Operand = At &
  (
    | { readonly node: 'dot' | 'nil' }
    | { readonly node: 'bool'; readonly value: boolean }
    /** `value` is a number, bigint, or Float. */
    | { readonly node: 'number'; readonly text: string; readonly value: unknown }
    | { readonly node: 'string'; readonly text: string; readonly value: string }
    | { readonly node: 'identifier'; readonly name: string }
    | { readonly node: 'field'; readonly names: readonly string[] }
    | { readonly node: 'variable'; readonly name: string; readonly names: readonly string[] }
    | { readonly node: 'chain'; readonly operand: Operand; readonly names: readonly string[] }
    | { readonly node: 'pipeline'; readonly pipeline: Pipeline }
  );

export interface Command extends At {
  readonly args: readonly Operand[];
}

export interface Pipeline extends At {
  readonly line: number;
  /** Variables that take the value: `$x :=` or, with `assign`, `$x =`. */
  readonly variables: readonly string[];
  readonly assign: boolean;
  readonly commands: readonly Command[];
}

export type Node = At &
  (
    | { readonly node: 'text'; readonly text: string }
    | { readonly node: 'action'; readonly pipeline: Pipeline }
    | {
        readonly node: 'if' | 'with' | 'range';
        readonly pipeline: Pipeline;
        readonly body: readonly Node[];
        readonly otherwise: readonly Node[] | undefined;
      }
    | { readonly node: 'template'; readonly name: string; readonly pipeline: Pipeline | undefined }
    | { readonly node: 'break' | 'continue' }
  );

/** The node as a template would spell it, for error messages. */
export function spell(operand: Operand): string {
  switch (operand.node) {
    case 'dot':
      return '.';
    case 'nil':
      return 'nil';
    case 'bool':
      return String(operand.value);
    case 'number':
    case 'string':
      return operand.text;
    case 'identifier':
      return operand.name;
    case 'field':
      return operand.names.map((name) => `.${name}`).join('');
    case 'variable':
      return [operand.name, ...operand.names].join('.');
    case 'chain': {
      const inner = spell(operand.operand);
      const base = operand.operand.node === 'pipeline' ? `(${inner})` : inner;
      return base + operand.names.map((name) => `.${name}`).join('');
    }
    default:
      return spellPipeline(operand.pipeline);
  }
}

export function spellCommand(command: Command): string {
  return command.args.map((arg) => (arg.node === 'pipeline' ? `(${spell(arg)})` : spell(arg))).join(' ');
}

export function spellPipeline(pipeline: Pipeline): string {
  const declared =
    pipeline.variables.length === 0 ? '' : `${pipeline.variables.join(', ')} ${pipeline.assign ? '=' : ':='} `;
  return declared + pipeline.commands.map(spellCommand).join(' | ');
}
