// English texts of the privacy meter. What each who looks could learn is said by the node itself.
import type { AdversaryDto, GradeDto, LevelDto } from '$host';

const n = (count: number, one: string, many: string) => `${count} ${count === 1 ? one : many}`;
const levels: Record<LevelDto, string> = { fast: 'Fast', balanced: 'Balanced', strict: 'Strict' };

export const privacy = {
  title: 'Privacy',
  hint: 'What others could learn when you open an address from here. It depends on the level that the site’s publisher chose.',
  test: 'No privacy here: this is a test fog',
  testMore: 'Its rules are relaxed so that things can be tried. Visit and publish nothing here that could harm anyone.',
  level: 'At the level',
  notOffered: (level: LevelDto) => `${levels[level]} (not offered here)`,
  grades: { none: 'None', weak: 'Weak', fair: 'Fair', good: 'Good' } as Record<GradeDto, string>,
  adversaries: {
    host: 'The device that hosts the site',
    mix: 'The first relay on your way',
    allocator: 'The fog’s coordinator',
    owner: 'One person with all their relays',
    global: 'Someone who watches your line and the host’s',
  } as Record<AdversaryDto, string>,
  numbers: 'The numbers behind',
  users: 'People online, you among them',
  usersOf: (least: string, most: string) => `${least} to ${most}, an estimate`,
  mixes: 'Relays that can be used',
  mixesOf: (mixes: number, owners: number) => `${mixes} of ${n(owners, 'owner', 'owners')}`,
  pagesFound: 'Pages found by someone who watches both lines',
  packetBits: 'Uncertainty about who sent one packet',
  notMeasured: 'not measured with the cover that is sent',
  mixBothEnds: 'Chance that one of your first relays is a host’s too',
  ownerBothEnds: 'Chance that one person has relays at both ends',
  cover: 'Cover traffic from this device',
  noCover: 'none yet',
  perSecond: (amount: string) => `${amount} a second`,
  source:
    'Pages and uncertainty come from the simulation in docs/privacy; chances from how relays are drawn; people from what relays count, so somebody can pretend to be many. Nothing here covers an attacker who watches for weeks.',
};
