// English texts of the first start: what each way in does to the computer, said before it does it.

export const first = {
  page: 'Welcome',
  title: 'Welcome to the fog',
  lead: 'A fog is a pool of devices that put websites online together. How do you want to begin?',
  onlyVisit: 'You only want to open an address?',
  onlyVisitLink: 'That needs no fog of your own',
  does: 'What this does to your computer',
  more: 'Read what it does',

  practice: {
    card: 'Practice fog',
    brief: 'Try it here, alone: several nodes on this computer.',
    title: 'Try it on this computer',
    lead: 'A whole fog in miniature. Put a folder online, copy its address, open it: nobody else is needed.',
    effects: [
      'Starts several nodes in this app. They use some processor time, memory and disk while the app runs.',
      'They talk only to each other, on this computer. Nothing leaves it.',
      'Leaving the practice fog ends it as a whole: what you put online in it is gone.',
    ],
    warning: 'A practice fog gives no privacy at all',
    warningMore: 'All mixes belong to you and run in one place. It shows how things work; it hides nothing.',
    confirm: 'Start the practice fog',
    busy: 'Starting the nodes… this can take a minute',
  },

  start: {
    card: 'Start a fog',
    brief: 'For your group: this computer coordinates it, and you hand out invites.',
    title: 'Start a fog of your own',
    lead: 'You become its administrator. Others join with tickets that you make.',
    effects: [
      'Makes the fog’s keys and a small database in this app’s folder. Whoever has these files has the fog.',
      'Listens on the network for the fog’s devices while the app runs. While it is off nothing new can be placed; what runs goes on for hours.',
      'Does not lend this device: you switch that on yourself.',
    ],
    name: 'Name of the fog',
    nameHint: 'Everyone in the fog sees it.',
    namePlaceholder: 'Our neighbourhood',
    test: 'This is a test fog',
    testHint:
      'Relaxes the privacy rules: 4 mixes are enough, and all may belong to one person. For a handful of friends or for development. It can’t be changed later, and everyone in the fog sees it in red.',
    normalHint: 'Without it addresses open only once 7 relaying devices of 4 different owners are there.',
    confirm: 'Start the fog',
    busy: 'Starting the fog…',
  },

  join: {
    card: 'Join a fog',
    brief: 'You have a ticket from someone who runs a fog.',
    title: 'Join a fog',
    lead: 'Paste the ticket that you were given. What you may do in the fog is written in it.',
    effects: [
      'Connects to the computer that coordinates the fog, now and whenever the app runs. It learns your network address and this device’s name.',
      'Does not lend this device and publishes nothing: you do that yourself.',
    ],
    ticket: 'Ticket',
    ticketHint: 'A long text that begins with “fogbank1”. Treat it like a key: who has it can join.',
    ticketPlaceholder: 'fogbank1…',
    confirm: 'Join',
    busy: 'Joining…',
  },

  lend: {
    card: 'Lend this device',
    brief: 'Give what your computer does not need to a fog. Stop at any moment.',
    title: 'Lend this device',
    lead: 'Joins a fog with a ticket, then lends what this computer has free and relays packets.',
    effects: [
      'Stores and serves other people’s static websites, within a part of the free memory, processor and disk.',
      'Relays encrypted packets for others, and uses your network connection for it.',
      'You see what runs here, and can pause or stop at any moment. Stopping ends it at once.',
    ],
    confirm: 'Join and lend',
    busy: 'Joining, then lending…',
  },
};
