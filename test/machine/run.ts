/** A shell command as root in the machine, for a look at it: node test/machine/run.ts 'cat /proc/version' */
import { runInMachine } from './machine.ts';

const command = process.argv.slice(2).join(' ');
const { console: text, failure } = await runInMachine({ timeoutMs: 10 * 60_000, command });
console.log(text);
if (failure !== undefined) throw new Error(failure);
