/** From what inside.ts prints to one table: tasks down, suites and runtimes across. */
import { differences } from './differences.ts';

export interface Seen {
  readonly peer: string;
  readonly runtime: string;
  readonly task: string;
  readonly ok: boolean;
  /** What the task gave, in one line. */
  readonly seen: string;
  /** A regular expression. */
  readonly expected: string;
}

/** What inside.ts prints. */
export type Line = Seen | { readonly versions: Readonly<Record<string, string>> };

export interface SuiteReport {
  readonly suite: string;
  readonly versions: Readonly<Record<string, string>>;
  readonly seen: readonly Seen[];
}

export const subject = 'keelson-oci';
const others = ['runc', 'crun'] as const;

/** The last word on one task of one peer: `failed` says why, and is for keelson-oci alone. */
export interface Verdict {
  readonly peer: string;
  readonly task: string;
  readonly by: Readonly<Record<string, Seen>>;
  readonly failed: string | undefined;
}

/** A task has failed when keelson-oci gives something else than expected, unless neither runc nor crun does better or a difference is on the list. */
export function verdicts(report: SuiteReport): Verdict[] {
  const names = new Map(report.seen.map(({ peer, task }) => [`${peer}\0${task}`, { peer, task }]));
  return [...names.values()].map(({ peer, task }) => {
    const by = Object.fromEntries(
      report.seen.filter((s) => s.peer === peer && s.task === task).map((s) => [s.runtime, s]),
    );
    return { peer, task, by, failed: failure(by) };
  });
}

function failure(by: Readonly<Record<string, Seen>>): string | undefined {
  const ours = by[subject];
  if (ours?.ok) return undefined;
  const better = others.filter((name) => by[name]?.ok);
  if (better.length === 0 && ours !== undefined) return undefined;
  if (reasonOf(ours)) return undefined;
  const seen = ours ? `gave ${JSON.stringify(ours.seen)}, not /${ours.expected}/` : 'did not get so far';
  return `${subject} ${seen}; ${better.length > 0 ? better.join(' and ') : 'no other runtime'} did`;
}

function reasonOf(seen: Seen | undefined): string | undefined {
  if (!seen || seen.ok) return undefined;
  return differences.find(
    (d) =>
      d.runtimes.includes(seen.runtime) &&
      d.tasks.test(`${seen.peer}: ${seen.task}`) &&
      (d.seen?.test(seen.seen) ?? true),
  )?.reason;
}

/** Markdown; also what the lane prints. */
export function document(reports: readonly SuiteReport[]): string {
  const notes: string[] = [];
  const note = (text: string): string => {
    if (!notes.includes(text)) notes.push(text);
    return `${notes.indexOf(text) + 1}`;
  };
  const cell = (seen: Seen | undefined): string => {
    if (!seen) return '–';
    if (seen.ok) return '✓';
    return `✗ ${note(reasonOf(seen) ?? `${seen.runtime}: \`${seen.seen.slice(0, 160).replaceAll('|', '\\|').replaceAll('`', "'")}\``)}`;
  };
  const runtimes = [...others, subject];
  const all = reports.flatMap((report) => verdicts(report).map((v) => ({ ...v, suite: report.suite })));
  const rows = new Map(all.map(({ peer, task }) => [`${peer}: ${task}`, { peer, task }]));
  const lines = [...rows.values()]
    .sort((a, b) => a.peer.localeCompare(b.peer))
    .map(({ peer, task }) => {
      const cells = reports.flatMap(({ suite }) => {
        const one = all.find((v) => v.suite === suite && v.peer === peer && v.task === task);
        return runtimes.map((runtime) => cell(one?.by[runtime]));
      });
      return `| ${peer} | ${task} | ${cells.join(' | ')} |`;
    });
  const heads = reports.flatMap(({ suite }) => runtimes.map((runtime) => `${suite}: ${runtime}`));
  const table = [
    `| peer | task | ${heads.join(' | ')} |`,
    `|---|---|${heads.map(() => '---').join('|')}|`,
    ...lines,
  ].join('\n');
  const listed = notes.map((text, at) => `${at + 1}. ${text}`).join('\n');
  const known = reports
    .map(
      ({ suite, versions }) =>
        `- ${suite}: ${Object.entries(versions)
          .map(([name, version]) => `${name} ${version}`)
          .join(', ')}`,
    )
    .join('\n');
  return `${known}\n\n${table}\n\n${notes.length > 0 ? `## Differences\n\n${listed}\n` : ''}`;
}
