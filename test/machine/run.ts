/** A shell command as root in the machine, for a look at it: node test/machine/run.ts [--systemd | --systemd-hybrid] 'cat /proc/version' */
import { type MachineInit, runInMachine } from './machine.ts';

const [first = '', ...rest] = process.argv.slice(2);
const init = first.startsWith('--') ? (first.slice(2) as MachineInit) : 'plain';
const command = (init === 'plain' ? [first, ...rest] : rest).join(' ');
const { console: text, failure } = await runInMachine({ timeoutMs: 10 * 60_000, command, init });
console.log(text);
if (failure !== undefined) throw new Error(failure);
