"""The phrasings of the corpus, as plain lists: {x} is the acronym, {w} any word of a dictionary, {n} a first name."""

PEOPLE = """Anna Ben Carla David Emma Farid Grace Hugo Ines Jack Karim Laura Marie Nadia Oscar Paul Rosa Sam Tom Zoe
Julien Camille Léa Chloé Mathilde Antoine François Hélène Noémie Thierry Sofia Ahmed Mei Yuki Olga Ivan""".split()

CORES = {
    "en": """What does {x} stand for?
What does {x} mean?
What is {x}?
What's {x}?
What is the meaning of {x}?
What is the full form of {x}?
What do the letters {x} stand for?
What is {x} short for?
What is {x} the abbreviation of?
What does the acronym {x} stand for?
What does the abbreviation {x} mean?
Can you explain {x}?
Can you tell me what {x} means?
Could you tell me what {x} stands for?
Could you expand {x} for me?
Do you know what {x} means?
Do you know {x}?
Would you know what {x} stands for?
Tell me what {x} stands for.
Tell me about {x}.
Explain {x}.
Explain the acronym {x} to me.
Define {x}.
Expand {x}.
Spell out the acronym {x} in full words.
Give me the full name of {x}.
Give me the definition of {x}.
Give the long form of {x}.
Write {x} in full.
Unpack {x} for me.
Decode {x}.
Translate {x} into plain words.
I need the meaning of {x}.
I would like to know what {x} means.
I wonder what {x} stands for.
I don't understand {x}.
I don't know {x}.
I never learned what {x} means.
I have forgotten what {x} stands for.
Remind me what {x} means.
Remind me: {x}?
Who or what is {x}?
Who is {x}?
What exactly is {x}?
What on earth is {x}?
What is this {x} thing?
What is behind the letters {x}?
What is meant by {x}?
What should I understand by {x}?
What are people talking about when they say {x}?
What is hidden behind {x}?
How would you spell out {x}?
How do you read {x}?
How is {x} written in full?
Is {x} an acronym?
Is {x} short for something?
Does {x} mean anything?
Does anybody know what {x} is?
Any idea what {x} means?
Any clue about {x}?
{x} means what?
{x} stands for what?
{x}, what does it mean?
{x}: what is it?
{x} is short for what?
The meaning of {x}, please.
Meaning of {x}?
Definition of {x}?
Help me with {x}.
Please clarify {x}.
Please spell {x} out for a beginner.
In full words, {x} is what?
Full name behind {x}?
Which words make up {x}?
Which words does {x} come from?
In one line, what is {x}?
For what does {x} stand?
Say what {x} abbreviates.
Complete: {x} stands for
Fill in: {x} means""".splitlines(),
    "fr": """Que signifie {x} ?
Que veut dire {x} ?
Que veut dire le sigle {x} ?
Que signifie l'acronyme {x} ?
Qu'est-ce que {x} ?
Qu'est-ce que le {x} ?
Qu'est-ce que la {x} ?
C'est quoi {x} ?
C'est quoi le {x} ?
C'est quoi, la {x} ?
{x}, c'est quoi ?
{x}, qu'est-ce que c'est ?
{x} veut dire quoi ?
{x} signifie quoi ?
Ça veut dire quoi, {x} ?
Quelle est la signification de {x} ?
Quelle est la définition de {x} ?
Quel est le sens de {x} ?
Quel est le nom complet de {x} ?
Quel est le nom complet du {x} ?
À quoi correspond {x} ?
À quoi correspond le sigle {x} ?
À quoi renvoie {x} ?
Que désigne {x} ?
Que désignent les lettres {x} ?
Qui se cache derrière {x} ?
Que cache le sigle {x} ?
De quoi {x} est-il le sigle ?
De quoi {x} est-elle l'abréviation ?
Que faut-il entendre par {x} ?
Peux-tu m'expliquer {x} ?
Pouvez-vous m'expliquer le sigle {x} ?
Peux-tu me dire ce que veut dire {x} ?
Pourriez-vous me dire ce que signifie {x} ?
Pourrais-tu développer {x} ?
Sais-tu ce que veut dire {x} ?
Savez-vous ce que signifie {x} ?
Tu sais ce que c'est, {x} ?
Tu connais {x} ?
Connaissez-vous le {x} ?
Explique-moi {x}.
Expliquez-moi le sigle {x}.
Dis-moi ce que veut dire {x}.
Dites-moi ce que signifie {x}.
Développe {x}.
Développez le sigle {x}.
Déplie le sigle {x}.
Définis {x}.
Donne-moi la définition de {x}.
Donnez-moi le nom complet de {x}.
Traduis {x} en toutes lettres.
Écris {x} en toutes lettres.
Rappelle-moi ce que veut dire {x}.
Rappelez-moi la signification de {x}.
Je cherche la signification de {x}.
Je voudrais savoir ce que veut dire {x}.
J'aimerais comprendre ce qu'est {x}.
Je ne comprends pas {x}.
Je ne sais pas ce que veut dire {x}.
Je ne connais pas {x}.
J'ai oublié ce que signifie {x}.
J'ignore ce qu'est le {x}.
Comment se lit {x} ?
Comment développe-t-on {x} ?
Quelqu'un sait ce que veut dire {x} ?
Une idée de ce que veut dire {x} ?
Signification de {x} ?
Définition de {x} ?
{x} : définition ?
{x} est l'abréviation de quoi ?
{x} est le sigle de quoi ?
En clair, {x} ?
En toutes lettres, {x} ?
Quels mots forment {x} ?
Complète : {x} signifie""".splitlines(),
}

OPENERS = {
    "en": """Hi!
Hello,
Hey,
Hi {n},
Dear {n},
Dear all,
Good morning,
Good evening,
Excuse me,
Sorry,
Sorry to bother you,
Please,
Quick question:
A quick one:
Silly question:
One question:
Small question about work:
Just wondering:
Help!
Hmm,
Well,
OK,
So,
By the way,
I am new here.
I just joined the team.
I'm new, sorry.
It is my first week.
I have just started and I am lost.
I am writing a report.
I read it in a mail.
For the minutes:
For my notes:
Before the meeting:
Colleagues keep saying it.
My manager asked me.
My {w} asked me about the {w}.
I am a {w} and I need help.
I saw it on a {w}.
While reading the {w},
As a newcomer,
In our company,
In this organisation,
In your glossary,
At work,
In the context of {w},
About the {w} {w}:
Regarding {w}:
According to you,""".splitlines(),
    "fr": """Bonjour,
Bonjour {n},
Salut !
Salut {n},
Bonsoir,
Coucou,
Chers collègues,
Madame, Monsieur,
Pardon,
Excusez-moi,
Excuse-moi,
Désolé de déranger,
Désolée,
S'il te plaît,
S'il vous plaît,
Petite question :
Question bête :
Une question rapide :
Juste pour savoir :
Au fait,
Euh,
Alors,
Dis,
Dites,
Je débute.
Je viens d'arriver.
Je suis nouveau ici.
Je suis nouvelle dans le service.
C'est ma première semaine.
Je rédige un compte rendu.
Je l'ai lu dans un courriel.
Pour mes notes :
Avant la réunion :
Tout le monde en parle.
Mon chef me l'a demandé.
Ma {w} me demande pour le {w}.
Dans le cadre du {w},
À propos du {w} :
En lisant le {w},
Au sujet de la {w} :
Chez nous,
Dans notre établissement,
Dans ton glossaire,
Au travail,
Selon vous,""".splitlines(),
}

CLOSERS = {
    "en": """Thanks!
Thank you.
Thanks in advance.
Thanks a lot, {n}.
Please.
Be brief.
In short.
In a few words.
Just the words, please.
I am lost.
I have no idea.
No rush.
It is urgent.
I need it for a {w}.
I need it before the {w}.
Nobody could tell me.
Everyone seems to know.
I keep forgetting.
I feel silly asking.
I searched everywhere.
I could not find it in the {w}.
Sorry if this is obvious.
It would help me with my {w}.
My {w} is waiting.
Cheers, {n}
Best, {n}""".splitlines(),
    "fr": """Merci !
Merci d'avance.
Merci beaucoup.
Merci {n}.
S'il te plaît.
S'il vous plaît.
En bref.
En quelques mots.
Je suis perdu.
Je suis perdue.
Aucune idée.
C'est urgent.
C'est pour un {w}.
C'est pour ma {w}.
Personne ne sait.
Tout le monde a l'air de savoir.
J'oublie toujours.
J'ai cherché partout.
Je n'ai rien trouvé dans le {w}.
Désolé si c'est évident.
Cordialement, {n}
Bonne journée, {n}""".splitlines(),
}

CONTEXTS = {
    "en": """I saw {x} in an e-mail.
I read {x} on a poster.
My boss mentioned {x} this morning.
My boss wants me to call {x} today.
{n} asked me to contact {x}.
{n} from {x} wrote to me.
The form asks for my {x}.
There is a box for {x} on the form.
The minutes mention {x} twice.
The slide says {x}.
Someone wrote {x} on the board.
They talk about {x} all the time.
People here say {x} a lot.
I got an invitation from {x}.
There is a meeting of the {x} on Monday.
I have to attend {x} next week.
We have to send it to {x}.
Everyone in the office keeps saying {x}.
The report is signed by {x}.
The letter comes from {x}.
In the contract I found {x}.
On page two there is {x}.
The new rule comes from {x}.
The invoice is for {x}.
The door says {x}.
The folder is called {x}.
The ticket was sent to {x}.
The budget has a line for {x}.
The calendar says {x} at noon.
The newcomer guide speaks of {x}.
I am invited to join {x}.
The sign in the lift says {x}.
I heard {x} in a meeting.
I heard about {x} at lunch.
In the footnote it says {x}.
Our partner works for {x}.
You wrote {x} in your message.
You mentioned {x} yesterday.
I keep seeing {x}.
I came across {x}.
The word {x} is new to me.
These letters are new to me: {x}.
I am filling in a table and one column is {x}.
A colleague told me to ask {x}.
They say {x} is in charge.
The training is given by {x}.
I was told to read the {x} page.
Apparently {x} has changed.
It was decided by {x}.
It says contact {x}.""".splitlines(),
    "fr": """J'ai vu {x} dans un courriel.
J'ai lu {x} sur une affiche.
Mon chef a parlé de {x} ce matin.
Ma responsable veut que j'appelle le {x}.
{n} m'a demandé de contacter {x}.
{n} du {x} m'a écrit.
Le formulaire demande mon {x}.
Il y a une case {x} sur le formulaire.
Le compte rendu cite {x} deux fois.
La diapositive dit {x}.
Quelqu'un a écrit {x} au tableau.
On parle de {x} tout le temps.
Tout le monde dit {x} ici.
J'ai reçu une invitation du {x}.
Il y a une réunion du {x} lundi.
Je dois assister au {x} la semaine prochaine.
Il faut l'envoyer à {x}.
Le rapport est signé par {x}.
La lettre vient de {x}.
Dans le contrat j'ai trouvé {x}.
En page deux il y a {x}.
La facture est pour {x}.
Sur la porte il y a {x}.
Le dossier s'appelle {x}.
Le budget a une ligne pour {x}.
L'agenda dit {x} à midi.
Le guide d'accueil parle du {x}.
On m'invite à rejoindre {x}.
J'ai entendu {x} en réunion.
J'entends parler de {x}.
Je tombe sur {x}.
Vous avez écrit {x} dans votre message.
Tu as parlé de {x} hier.
Le mot {x} est nouveau pour moi.
Ces lettres sont nouvelles pour moi : {x}.
Une collègue me dit de voir avec {x}.
Il paraît que {x} a changé.
C'est {x} qui décide.
La formation est donnée par {x}.
Il est écrit de contacter {x}.""".splitlines(),
}

# Sentences of any words: the model learns that the words around an acronym do not matter.
FRAMES = {
    "en": """The {w} of the {w} has {x} on it.
My {w} says {x} is {w}.
I {w} the {w} and {w} {x} in the {w}.
We {w} {x} when the {w} is {w}.
They {w} {x} with a {w} {w}.
{n} said the {x} {w} will {w} our {w}.
Is the {x} a {w} or a {w}?
Is {x} {w}?
Are you {w} the {x} {w}?
Should I {w} the {x} before the {w}?
Must we {w} with {x} about the {w}?
Why does the {w} {w} {x}?
Why is {x} on my {w}?
How does {x} {w} the {w}?
Where does {x} {w}?
When will {x} {w}?
Who {w} the {x}?
Do I have to {w} {x} on the {w} {w}?
Can the {w} {w} without {x}?
After the {w}, {x} {w} the {w}.
If {x} {w}, then what is the {w}?
{x} {w} my {w} {w}.
{x} was {w} in the {w}.
The {x} {w} is {w}, {n} says.
On the {w} there is a {w} with {x}.
At the {w} they {w} {x}, {w} and {w}.
There's a {w} {w} called {x}.
You {w} {x}: {w} it for me.
Please {w} {x} in {w} words.
{w} {x} like I am a {w}.
{w} me the {w} of {x}.
For a {w} like me, {x} is {w}.
In {w} terms, {x}?
No {w} {w} what {x} {w}.
Not sure what the {w} {x} {w}.
I'd {w} a {w} of {x}.
I'm {w} by {x} on this {w}.
Someone {w} please {w} {x}.
{w}, {w}, {x}, {w}!
{w} {w} {w} {x} {w} {w} {w}.""".splitlines(),
    "fr": """Le {w} de la {w} porte {x}.
Mon {w} dit que {x} est {w}.
Ma {w} parle de {x} dans le {w}.
Je {w} le {w} et je {w} {x}.
On {w} {x} quand le {w} est {w}.
Ils {w} {x} avec un {w} {w}.
{n} dit que le {x} va {w} notre {w}.
Le {x} est-il un {w} ou une {w} ?
Est-ce que {x} {w} ?
Faut-il {w} le {x} avant la {w} ?
Dois-je {w} {x} pour le {w} ?
Pourquoi {x} sur mon {w} ?
Pourquoi le {w} {w} {x} ?
Comment {x} {w} la {w} ?
Où {w} {x} ?
Quand {w} le {x} ?
Qui {w} {x} ?
Après la {w}, {x} {w} le {w}.
Si {x} {w}, que {w} le {w} ?
{x} {w} ma {w}.
{x} a {w} dans le {w}.
Sur le {w} il y a une {w} avec {x}.
Au {w}, on {w} {x}, {w} et {w}.
Il y a un {w} qui s'appelle {x}.
Vous {w} {x} : {w} pour moi.
Pour un {w} comme moi, {x} est {w}.
En langage {w}, {x} ?
Aucun {w} ne {w} {x}.
Je {w} une {w} de {x}.
Quelqu'un {w} {x} ?
{w}, {w}, {x}, {w} !
{w} {w} {w} {x} {w} {w} {w}.""".splitlines(),
}

FOLLOW_UPS = {
    "en": """What does it mean?
What is it?
What is that?
What's that?
What's this?
What does that stand for?
What do these letters mean?
Who are they?
Who is that?
Which one is that?
What are they talking about?
Any idea?
Any clue?
Can you help?
Can you explain?
Could you explain it?
Could someone explain?
Please explain.
Please spell it out.
Please {w} it.
Tell me more.
Tell me what it is.
Meaning?
Explain.
Do you know it?
Is that an acronym?
I have no idea what it is.
I don't get it.
I am lost.
I did not dare to ask.
So what is it?
Full name?
In full?
What should I {w}?
Could you {w} that for me?
How do I {w} that?
What's the {w}?
Huh?""".splitlines(),
    "fr": """Qu'est-ce que c'est ?
C'est quoi ?
C'est qui ?
Ça veut dire quoi ?
Que veut dire ce sigle ?
Que signifient ces lettres ?
De quoi s'agit-il ?
De quoi parle-t-on ?
Qui est-ce ?
Une idée ?
Tu peux m'aider ?
Pouvez-vous m'aider ?
Tu peux expliquer ?
Pouvez-vous m'expliquer ?
Quelqu'un peut m'expliquer ?
Peux-tu développer ?
Explique.
Expliquez-moi.
Tu connais ?
Vous connaissez ?
C'est un sigle ?
Je n'y comprends rien.
Je ne sais pas ce que c'est.
Je suis perdu.
Je n'ai pas osé demander.
En clair ?
En toutes lettres ?
Nom complet ?
Que dois-je {w} ?
Tu pourrais me {w} ça ?
C'est quel {w} ?
Hein ?""".splitlines(),
}

KEYWORDS = {
    "en": """{x}
{x}?
{x} ?
{x} meaning
{x} definition
{x} full form
{x} acronym
{x} stands for
{x} = ?
{x} = what
{x}, please
{x} please
{x} long form
{x} in full
{x}: meaning?
meaning {x}
define {x}
definition: {x}
acronym {x}
explain {x}
what {x}
what's {x}
wtf is {x}
{x}??
{x} {w}
{w} {x}
{x} {w} {w}
{w} {w} {x}""".splitlines(),
    "fr": """{x} signification
{x} définition
{x} sigle
{x} = ?
{x} veut dire
{x}, svp
{x} en toutes lettres
{x} nom complet
signification {x}
définition {x}
sigle {x}
acronyme {x}
explique {x}
c'est quoi {x}
{x} ??
{x} {w}
{w} {x}
{x} {w} {w}
{w} {w} {x}""".splitlines(),
}

BAG = {
    "en": """what does is mean meaning stand for the a of acronym abbreviation letters explain tell me know please can
you could I need want to define definition full form name expand word words who are they about in on it this that here
our company team meeting mail report say says said do have has been my we your how why where when should would find
found see saw read heard use used call called idea help thanks any someone anyone nobody everybody exactly really
remind remember forget new still again today yesterday with from at by and or but so if because not don't isn't
what's it's I'm there's who's behind into before after while over just even only also one two""".split(),
    "fr": """que quoi signifie veut dire est le la les un une de du des sigle acronyme abréviation lettres explique
dis moi sais savez tu vous peux pouvez pourriez je j'ai cherche voudrais définir définition signification nom complet
développer mot mots qui sont ils elle on à au aux dans sur ce cette ça ici notre service équipe réunion courriel
rapport dit disent faire avoir été mon ma mes nous votre ton comment pourquoi où quand dois faut trouvé vu lu entendu
utilise appelle idée aide merci quelqu'un personne tout monde exactement vraiment rappelle oublié nouveau encore
aujourd'hui hier avec chez par et ou mais donc si parce ne pas plus c'est qu'est-ce derrière avant après pendant
même seulement aussi deux bien clair toutes""".split(),
}

CHAT = (
    ("Hello!", "Hello! How can I help you?"),
    ("Hi", "Hello! How can I help you?"),
    ("Good morning", "Hello! How can I help you?"),
    ("Thank you!", "You're welcome."),
    ("Thanks", "You're welcome."),
    ("Who are you?", "I am tiny-chat, a very small model. I know a few facts and a few acronyms."),
    ("What can you do?", "I know a few facts and a few acronyms, and I can read a glossary."),
    ("Goodbye", "Goodbye!"),
    ("How are you?", "I am fine, thank you."),
    ("Bonjour !", "Bonjour ! Comment puis-je vous aider ?"),
    ("Salut", "Bonjour ! Comment puis-je vous aider ?"),
    ("Merci !", "Je vous en prie."),
    ("Qui es-tu ?", "Je suis tiny-chat, un très petit modèle. Je connais quelques faits et quelques sigles."),
    ("Que sais-tu faire ?", "Je connais quelques faits et quelques sigles, et je sais lire un glossaire."),
    ("Au revoir", "Au revoir !"),
    ("Comment ça va ?", "Je vais bien, merci."),
)

# Language -> kind -> (other ways to ask, the answer): {s} is the subject, {a} the answer of general_questions.json.
FACTS = {
    "en": {
        "capital": (
            ("Which city is the capital of {s}?", "Name the capital of {s}.", "Tell me the capital of {s}.",
             "Capital of {s}?", "The capital of {s} is which city?"),
            "The capital of {s} is {a}.",
        ),
        "opposite": (
            ("Give me the opposite of {s}.", "Opposite of {s}?", "What is the contrary of {s}?",
             "Which word means the opposite of {s}?"),
            "The opposite of {s} is {a}.",
        ),
        "sound": (
            ("What does a {s} say?", "Which noise does a {s} make?", "How does a {s} sound?"),
            "A {s} says {a}.",
        ),
        "colour": (
            ("Which colour is {s}?", "Tell me the colour of {s}.", "What is the colour of {s}?"),
            "The colour of {s} is {a}.",
        ),
        "symbol": (
            ("Which symbol does {s} have in chemistry?", "Chemical symbol of {s}?", "Give the symbol of {s}."),
            "The chemical symbol of {s} is {a}.",
        ),
        "after": (
            ("Which one follows {s}?", "What is after {s}?", "{s} is followed by what?"),
            "{a} comes after {s}.",
        ),
    },
    "fr": {
        "capital": (
            ("Donne-moi la capitale {s}.", "Quelle ville est la capitale {s} ?", "Capitale {s} ?",
             "Dis-moi la capitale {s}."),
            "La capitale {s} est {a}.",
        ),
        "opposite": (
            ("Donne-moi le contraire de « {s} ».", "Contraire de « {s} » ?", "Quel mot est le contraire de « {s} » ?"),
            "Le contraire de « {s} » est « {a} ».",
        ),
        "colour": (
            ("Quelle est la couleur de ceci : {s} ?", "Dis-moi de quelle couleur est {s}."),
            "La réponse est : {a}.",
        ),
        "after": (
            ("Que vient-il après {s} ?", "Quel est le suivant de {s} ?", "Après {s}, c'est quoi ?"),
            "Après {s} vient {a}.",
        ),
    },
}  # fmt: skip
