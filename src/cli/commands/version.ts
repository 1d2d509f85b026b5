import { release } from 'node:os';
import { KeelsonError, messageOf } from '../../ground/errors.ts';
import { toJson } from '../../api/docker/json.ts';
import { type Command, command as define, noArgs } from '../command.ts';
import { bool, string } from '../flags.ts';
import { documentFormatHelp } from '../output/list-view.ts';
import { renderTemplate } from '../template/template.ts';
import { apiVersion, keelsonVersion, versionDocument } from '../versions.ts';

export const command: Command = define({
  usage: '[OPTIONS]',
  about: 'Show the Keelson version information',
  arity: noArgs,
  flags: {
    format: string(documentFormatHelp, { short: 'f' }),
    short: bool('', { hidden: true }),
  },
  run: async ({ cli, flags }) => {
    const version = keelsonVersion();
    if (flags.short) {
      cli.stdout.line(`Keelson version ${version}`);
      return 0;
    }
    if (flags.format === 'json') {
      cli.stdout.line(toJson(versionDocument()));
      return 0;
    }
    if (flags.format !== '') {
      try {
        cli.stdout.line(renderTemplate(flags.format, versionDocument()));
      } catch (error) {
        throw new KeelsonError('invalid-argument', `template parsing error: ${messageOf(error)}`, { cause: error });
      }
      return 0;
    }
    const rows = [
      ['Version', version],
      ['API version', apiVersion],
      ['Node version', process.version],
      ['Kernel', release()],
      ['OS/Arch', `linux/${process.arch === 'x64' ? 'amd64' : process.arch}`],
    ];
    cli.stdout.write(`Keelson:\n${rows.map(([name, value]) => ` ${`${name}:`.padEnd(18)}${value}\n`).join('')}`);
    return 0;
  },
});
