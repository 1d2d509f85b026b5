/** The exit command of engines that openEngine makes: what `keelson container-exited ID` does. Arguments: root, run, id. */
import { Engine } from '../../src/engine/engine.ts';
import { Context } from '../../src/ground/context.ts';

const [root, run, id] = process.argv.slice(2) as [string, string, string];
await using engine = Engine.open({ paths: { root, run }, exitCommand: process.argv.slice(0, -1) });
await engine.exited(new Context(), id);
