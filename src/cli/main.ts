import { enableCompileCache } from 'node:module';
import { dispatch } from './dispatch.ts';

enableCompileCache();
process.exit(await dispatch(process.argv.slice(2)));
