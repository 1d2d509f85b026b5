import { cgroupSuite } from '../../support/cgroup-suite.ts';

cgroupSuite({ keel: '/keelson/native/build/keel' });
