import type { Plan } from '../../kernel/plan.ts';
import { type PlanLine, planLines } from './plan-lines.ts';

/** The purposes in the order in which they make sense to a reader; others follow. */
const order = ['namespaces', 'cgroup', 'root file system', 'devices', 'network', 'security', 'exec'];

const about: Readonly<Record<string, string>> = {
  namespaces: 'what the container sees of its own',
  cgroup: 'what it may use',
  'root file system': 'what its files are',
  devices: 'the nodes in its /dev',
  network: 'how it is reached',
  security: 'what it may not do',
  exec: 'how its program starts',
};

export interface ExplainStyle {
  /** Bold headings and dim remarks, for a terminal. */
  readonly color: boolean;
}

/**
 * The plan as text: a chapter for each purpose, within it one line for each kernel operation. The number is its place in the plan, the
 * word behind it the process that does it.
 */
export function explainPlan(plan: Plan, style: ExplainStyle): string {
  const bold = (text: string): string => (style.color ? `\x1b[1m${text}\x1b[0m` : text);
  const dim = (text: string): string => (style.color ? `\x1b[2m${text}\x1b[0m` : text);
  const lines = planLines(plan);
  const groups = Map.groupBy(lines, ({ group }) => group || 'exec');
  const names = [
    ...order.filter((name) => groups.has(name)),
    ...[...groups.keys()].filter((name) => !order.includes(name)),
  ];
  const digits = String(lines.length).length;
  const processWidth = Math.max(...lines.map(({ process }) => process.length), 0);
  const chapter = (name: string): string => {
    const own = groups.get(name) as readonly PlanLine[];
    const title = bold(name) + (about[name] === undefined ? '' : dim(`  ${about[name]}`));
    let doing = '';
    let text = `${title}\n`;
    for (const line of own) {
      if (line.doing !== doing && line.doing !== '') text += `${' '.repeat(digits + 3)}${dim(`# ${line.doing}`)}\n`;
      ({ doing } = line);
      text += `  ${String(line.number).padStart(digits)} ${dim(line.process.padEnd(processWidth))} ${line.text}\n`;
    }
    return text;
  };
  const total = `${lines.length} operations in ${names.length} chapters`;
  return `${names.map(chapter).join('\n')}\n${dim(total)}\n`;
}
