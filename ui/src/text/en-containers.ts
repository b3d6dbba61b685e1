// English texts of the pages about containers: the list, putting one online, and one in full.

const n = (count: number, one: string, many: string) => `${count} ${count === 1 ? one : many}`;

export const containers = {
  title: 'Containers',
  lead: 'What you have put online.',
  create: 'Put a folder online',
  search: 'Search',
  searchPlaceholder: 'Name or address',
  filter: 'Show',
  filters: { all: 'All', running: 'Running', stopped: 'Stopped' },
  ready: (ready: number, wanted: number) => `${ready} of ${wanted} ready`,
  copyOnion: (name: string) => `Copy the address of ${name}`,
  copyShort: 'Copy address',
  private: 'Private: share its link',
  direct: 'Offers direct connections',
  emptyTitle: 'Nothing is online yet',
  empty:
    'Choose a folder with an index.html, and get an address that anyone in the mix network can open. You can also drop the folder here.',
  mayNot: 'This device may not publish here',
  mayNotTodo: 'The ticket with which it joined does not allow that. Ask for one with the role Publish.',
  noMatchTitle: 'Nothing matches',
  noMatch: 'Search for something else, or show all.',
  showAll: 'Show all',
};

export const make = {
  title: 'Put a folder online',
  lead: 'Its files are copied to devices of the fog, which serve them at a new onion address.',
  folder: 'Folder',
  folderPath: 'Path of the folder',
  folderPlaceholder: '/home/you/my-site',
  choose: 'Choose…',
  dropHint: 'Choose a folder, drop it on this window, or paste its path.',
  reading: 'Looking into the folder…',
  summary: (files: number, size: string) => `${n(files, 'file', 'files')}, ${size}`,
  name: 'Name',
  nameHint: 'For your own list. Visitors see only the onion address.',
  nameEmpty: 'Give it a name.',
  nameLong: (max: number) => `At most ${max} characters.`,
  size: 'Size',
  sizeHint: 'For all copies together. The sliders end at what the fog has free now.',
  cpu: 'Processor',
  memory: 'Memory',
  storage: 'Storage',
  bandwidth: 'Bandwidth',
  units: { cpu: 'cores', memory: 'MB', storage: 'MB', bandwidth: 'Mbit/s' },
  free: (amount: string) => `${amount} free`,
  freeUnknown: 'free: not known yet',
  moreThanFree: (amount: string) => `more than the ${amount} that is free`,
  copies: 'Copies',
  copiesHint: 'On different devices: the site stays online while one of them is there.',
  level: 'Delay on the way',
  levelHint: 'What hiding costs. Times are from a simulation with home connections; yours will differ.',
  noStrict:
    '“Strict” is not offered in this fog: it needs steady traffic in both directions, which no host keeps up here. Delays alone would hide next to nothing.',
  privateSwitch: 'Only people with the link’s key',
  privateHint:
    'The address alone opens nothing then: give people the whole link, which holds the key. The fog’s coordinator and the devices that host it can read it all the same.',
  directSwitch: 'Let visitors come directly (for development)',
  directHint:
    'Off, unless you are trying something out. Visitors who ask for it then come without mixes, to hosts whose owners agree.',
  directTitle: 'A direct visit is not private',
  directBody:
    'The visitor and the device that hosts the site see each other’s network address, and so does whoever watches either line. It can’t be taken back: whoever has the address may ask for it for as long as the site is there.',
  fitWaiting: 'Asking the fog…',
  useLargest: 'Use the largest that fits',
  noDevices: 'No device lends anything now.',
  publish: 'Put online',
  missing: { folder: 'Choose a folder first.', name: 'Give it a name first.', fit: 'Waiting until it fits.' },
  publishing: 'Putting it online…',
  publishingHint: 'You can look at other pages meanwhile; it goes on.',
  progressOf: (done: string, total: string) => `${done} of ${total}`,
  hostsRead:
    'Devices that host it can read it, and could alter what they serve; Fogbank notices an altered file and leaves that device. Put nothing secret in it.',
};

export const detail = {
  page: 'Container',
  backToList: 'All containers',
  noId: 'No container was named.',
  noIdTodo: 'Go back to the list and choose one.',
  ready: (ready: number, wanted: number) => `${ready} of ${wanted} copies ready`,
  address: 'Address',
  onion: 'Onion address',
  copyOnion: 'Copy address',
  link: 'Link to share',
  linkHint: 'For people whose Fogbank does not know this fog yet: it also says where to begin.',
  privateLinkHint:
    'This site is private. Give people this whole link: it holds the key without which the address opens for nobody.',
  privateOnion: 'Onion address (opens only for who has the link’s key)',
  copyLink: 'Copy link',
  direct: 'Direct: visitors who ask for it and the host see each other’s address',
  directBody:
    'You published it so. Only visitors who ask for it come directly, and only to devices whose owners agree; all others go through mixes. A program asks for it by giving the proxy the user name fogbank-direct and any password.',
  update: 'Put a new folder online…',
  updateBack: 'Back to the content before',
  updateHint: 'The address stays, and copies move over one after another: nobody’s visit fails. Done where it was published.',
  updates: {
    coming: 'New content is coming',
    moving: 'New content is on its way',
    given_up: 'The update was given up: what was there before goes on',
  } as Record<string, string>,
  online: 'What is online',
  signedAt: (when: string) => `Signed ${when}.`,
  history: 'History',
  instances: 'Copies',
  noInstances: 'No copy runs now.',
  endedInstances: (count: number) => n(count, 'earlier copy', 'earlier copies'),
  placement: 'Why it runs where it runs',
  facts: 'Facts',
  content: 'Content',
  contentOf: (files: number, size: string) => `${n(files, 'file', 'files')}, ${size}`,
  level: 'Delay on the way',
  stays: 'Stays for an hour',
  staysHint: 'How likely at least one of the devices that serve it stays for the next hour, by their own past',
  staysOf: (now: string, asked: string) => `${now}, ${asked} asked for`,
  holders: 'Held whole by',
  holdersOf: (count: number) =>
    count === 0
      ? 'no other device yet: it is there only while yours is'
      : count === 1
        ? '1 other device: few; with another, the site stays when that one leaves'
        : n(count, 'other device', 'other devices'),
  created: 'Created',
  stop: 'Stop',
  restart: 'Restart',
  delete: 'Delete',
  deleteTitle: (name: string) => `Delete “${name}”?`,
  deleteBody: 'It stops everywhere, and its onion address is lost for ever: nobody, not even you, can bring that address back.',
  deleteMore: 'Your folder stays as it is. To take it offline for a while, stop it instead: the address stays.',
  deleteConfirm: 'Delete for ever',
};
