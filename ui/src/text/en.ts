// All texts in English, page by page: plain strings, and functions where a text has parameters.
import { containers, detail, load, make } from './en-containers';
import { devices, lend, network } from './en-device';
import { first } from './en-first';
import { privacy } from './en-privacy';

/** Texts of the frame and of what all pages share. */
export const en = {
  language: 'en',

  app: {
    name: 'fogbank',
    title: (page: string) => `${page} · Fogbank`,
  },

  startup: {
    starting: 'Starting the node…',
    startingHint: 'It opens its keys and looks for its fog. This takes a few seconds.',
    failed: 'The node did not start',
    todo: 'Close the window and open it again.',
  },

  frame: {
    navigation: 'Main',
    skip: 'Skip to the content',
    welcome: 'Welcome',
    containers: 'Containers',
    lend: 'This device',
    network: 'Network',
    devices: 'Devices',
    noFog: 'In no fog yet',
    practice: 'Practice fog: no privacy',
    practiceHint: 'Everything runs on this computer. Use it to try things, for nothing else.',
    test: 'Test fog: weak privacy',
    testHint: 'Privacy rules are relaxed here. Put nothing online that could harm anyone.',
    connected: 'Connected',
    coordinates: 'This computer coordinates the fog',
    away: 'Allocator away',
    awayBanner: 'The fog’s allocator does not answer',
    awayHint: 'What runs goes on. Changes work again when it is back.',
    nodeGone: 'Node does not answer',
    version: (version: string) => `Version ${version}`,
  },

  fault: {
    title: 'That did not work',
    titles: {
      invalid: 'That can’t be done',
      infeasible: 'It does not fit now',
      no_fog: 'This device is in no fog',
      allocator_away: 'The allocator is away',
      refused: 'Not allowed',
      not_found: 'Not found',
      failed: 'That did not work',
    },
    unreachable: (cause: string) => `The node can’t be reached: ${cause}`,
    unreachableTodo: 'If this stays, close the window and open it again.',
    otherAnswer: (asked: string, got: string) => `The node gave another answer than was asked for (${got}, not ${asked}).`,
    otherAnswerTodo: 'Window and node may be of different versions: update both.',
    unexpectedTodo: 'Try again. If it happens twice, please tell the makers what you did.',
    silent: (seconds: number) => `The node has not answered for ${seconds} seconds.`,
    silentTodo: 'It may be busy; it is asked again by itself.',
    nothingKnown: 'This page fills again when the allocator is back.',
    outdated: 'Below is what was known before.',
  },

  copy: {
    copy: 'Copy',
    copied: 'Copied',
    failed: 'The clipboard can’t be reached. Select the text and copy it by hand.',
  },

  common: {
    back: 'Back',
    cancel: 'Cancel',
    waiting: 'Loading…',
    none: 'None',
  },

  amounts: {
    cores: (amount: string, one: boolean) => `${amount} ${one ? 'core' : 'cores'}`,
    bits: (amount: string) => `${amount} bits`,
    line: (cpu: string, memory: string, storage: string, bandwidth: string) =>
      `${cpu}, ${memory} memory, ${storage} storage, ${bandwidth}`,
  },

  /** What the states of containers and instances are called. */
  states: {
    pending: 'Pending',
    allocating: 'Finding devices',
    starting: 'Starting',
    running: 'Running',
    migrating: 'Moving',
    stopping: 'Stopping',
    stopped: 'Stopped',
    failed: 'Failed',
    reserved: 'Reserved',
    fetching: 'Fetching',
    ready: 'Ready',
    unready: 'Not ready',
    draining: 'Draining',
    ended: 'Ended',
    lost: 'Lost',
  } as Record<string, string>,

  roles: {
    contribute: { name: 'Contribute', means: 'lend the device and relay packets' },
    publish: { name: 'Publish', means: 'put folders online' },
    administer: { name: 'Administer', means: 'invite others; see all devices and sites, and stop, restart or delete any site' },
  },

  levels: {
    fast: {
      name: 'Fast',
      means: 'No added delay: a page of 2 MB opens in about 4.5 s. Whoever watches the lines of both ends sees who opens what.',
    },
    balanced: {
      name: 'Balanced',
      means:
        'About 15 ms at each relay: the same page takes about 6 s. Relays and hosts learn less from timing; whoever watches both lines still finds pages.',
    },
    strict: {
      name: 'Strict',
      means:
        'About 50 ms at each relay and steady traffic both ways, 0.2 MB a second while in use: the same page takes about 20 s. Made to hide pages from someone who watches lines; that it does is not shown yet.',
    },
  },

  first,
  containers,
  make,
  detail,
  load,
  lend,
  network,
  privacy,
  devices,
};
