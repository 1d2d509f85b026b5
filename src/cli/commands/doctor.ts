import { toJson } from '../../api/docker/json.ts';
import type { Context } from '../../ground/context.ts';
import { KeelsonError } from '../../ground/errors.ts';
import { type Finding, examine } from '../../kernel/doctor.ts';
import { doctorFacts } from '../../kernel/facts-doctor.ts';
import { Keel } from '../../kernel/keel.ts';
import type { Arch } from '../../kernel/syscalls.ts';
import { examineNetwork } from '../../network/doctor.ts';
import { type Command, command as define, noArgs } from '../command.ts';
import { bool, string } from '../flags.ts';

const marks = { ok: '✓', warn: '!', missing: '✗' } as const;
const colors = { ok: '32', warn: '33', missing: '31' } as const;

/** Findings chapter by chapter; what there is to do below each. */
function report(findings: readonly Finding[], color: boolean): string {
  const paint = (code: string, text: string): string => (color ? `\x1b[${code}m${text}\x1b[0m` : text);
  const width = Math.max(...findings.map(({ name }) => name.length));
  let text = '';
  for (const [group, own] of Map.groupBy(findings, (finding) => finding.group)) {
    text += `${paint('1', group)}\n`;
    for (const { name, status, detail, advice } of own) {
      text += `  ${paint(colors[status], marks[status])} ${name.padEnd(width)}  ${detail}\n`;
      if (advice !== '') text += `    ${' '.repeat(width)}  ${paint('1', '→')} ${advice}\n`;
    }
    text += '\n';
  }
  return text;
}

/** What only the kernel can tell, to root. Where nftables is missing, that has been found already. */
async function firewall(context: Context, arch: Arch): Promise<readonly Finding[]> {
  await using keel = Keel.spawn();
  try {
    return await examineNetwork(context, keel, arch, 'keelson0');
  } catch {
    return [];
  }
}

export const command: Command = define({
  usage: '[OPTIONS]',
  about: 'Say what this machine offers containers, what is missing, and what to do about it',
  arity: noArgs,
  flags: {
    format: string("'json' for a list of findings"),
    quiet: bool('Only show what is missing or limited', { short: 'q' }),
  },
  run: async ({ cli, flags }) => {
    if (flags.format !== '' && flags.format !== 'json')
      throw new KeelsonError(
        'invalid-argument',
        `the format ${JSON.stringify(flags.format)} is unknown: "json" is the only one`,
      );
    const all = await cli.context.span('examine', async () => {
      const facts = doctorFacts();
      return [...examine(facts), ...(facts.euid === 0 ? await firewall(cli.context, facts.arch) : [])];
    });
    const shown = flags.quiet ? all.filter(({ status }) => status !== 'ok') : all;
    const missing = all.filter(({ status }) => status === 'missing').length;
    const limited = all.filter(({ status }) => status === 'warn').length;
    if (flags.format === 'json') cli.stdout.line(toJson(shown, { indent: '  ' }));
    else {
      if (shown.length > 0)
        cli.stdout.write(report(shown, cli.stdout.isTerminal && process.env['NO_COLOR'] === undefined));
      cli.stdout.line(
        missing > 0
          ? `Containers can't run here as they should: ${missing} missing, ${limited} limited.`
          : limited > 0
            ? `Containers run here; ${limited} ${limited === 1 ? 'thing is' : 'things are'} limited.`
            : 'Containers have everything they need here.',
      );
    }
    return missing > 0 ? 1 : 0;
  },
});
