import type { ContainerConfig } from '../../engine/types.ts';
import { KeelsonError } from '../../ground/errors.ts';
import type { Cli } from '../cli.ts';
import { type Command, command as define, noArgs } from '../command.ts';
import { explainPlan } from '../explain/explain-plan.ts';
import { bool } from '../flags.ts';
import { untilRemoved } from '../session/until-removed.ts';
import { timingText } from '../output/timing.ts';

/** What the container does: looks at itself. */
const script = `echo "I am process $$ on a machine called $(hostname)."
echo "My processes: $(ls /proc | grep -c '^[0-9]'). My user: $(id -un) ($(id -u))."
echo "My files are those of this machine, on an overlay of my own:"
grep ' / ' /proc/self/mountinfo | cut -c1-70
echo "Whatever I write is gone with me." > /i-was-here && cat /i-was-here`;

const config: ContainerConfig = {
  image: 'host',
  hostname: 'demo',
  command: ['/bin/sh', '-c', script],
  autoRemove: true,
  // An ordinary user has no bridge yet, and the demonstration needs none.
  ...(process.geteuid?.() !== 0 && { network: 'none' as const }),
};

export const command: Command = define({
  usage: '[OPTIONS]',
  about: `Run a container from this machine's own root and show every layer at work

Shows the plan of the container (the exact list of kernel operations), runs it, and tells how
long each layer took. Nothing is pulled: the image is 'host', this machine's own root file
system under a throw-away overlay.`,
  arity: noArgs,
  flags: { full: bool('Show all of the plan') },
  run: async ({ cli, flags }) => {
    const color = cli.stdout.isTerminal && process.env['NO_COLOR'] === undefined;
    const heading = (text: string): void => cli.stdout.line(color ? `\x1b[1;36m${text}\x1b[0m` : text);
    const engine = await cli.engine();

    heading('The plan: what the kernel will be asked to do');
    cli.stdout.line('');
    const plan = await cli.context.span('explain', async () => engine.explain(cli.context, config));
    cli.stdout.write(flags.full ? explainPlan(plan, { color }) : shortened(explainPlan(plan, { color })));

    heading('\nThe container: keelson run --rm --hostname demo host sh -c …');
    cli.stdout.line('');
    const code = await cli.context.span('run', async () => runContainer(cli));
    if (code !== 0) throw new KeelsonError('internal', `the container ended with exit code ${code}`);

    heading('\nThe time each layer took');
    cli.stdout.line('');
    cli.stdout.write(timingText(cli.trace.spans.filter(({ end }) => end !== undefined)));
    cli.stdout.line('\nNow try: keelson run -it --rm host sh · keelson explain run host true · keelson doctor');
    return 0;
  },
});

async function runContainer(cli: Cli): Promise<number> {
  const engine = await cli.engine();
  const { id } = await engine.create(cli.context, config);
  const attachment = await engine.start(cli.context, id, { attach: { stdin: false, stdout: true, stderr: true } });
  if (attachment === undefined) throw new KeelsonError('internal', 'the container has no output to show');
  await using _ = attachment;
  await cli.context.span('container', async () => {
    let text = '';
    for await (const { data } of attachment.output) {
      text += Buffer.from(data).toString();
      const end = text.lastIndexOf('\n') + 1;
      cli.stdout.write(text.slice(0, end).replaceAll(/^(?=.)/gm, '  │ '));
      text = text.slice(end);
    }
    if (text !== '') cli.stdout.line(`  │ ${text}`);
  });
  const code = await attachment.exit;
  await untilRemoved(cli, engine, id);
  return code;
}

const linesPerChapter = 14;

/** The beginning of each chapter of the plan. */
function shortened(text: string): string {
  return text
    .split('\n\n')
    .map((chapter) => {
      const lines = chapter.split('\n');
      const left = lines.length - linesPerChapter;
      return left <= 2 ? chapter : [...lines.slice(0, linesPerChapter), `      … ${left} more lines`].join('\n');
    })
    .join('\n\n');
}
