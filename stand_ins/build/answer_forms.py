"""The sentences of tiny-cross-encoder's pairs; the forms of the split "test" are never trained on.

{x} is the acronym, {d} a definition, {e} another definition, {w} any word, {n} a number; one form a line.
"""

STATEMENTS = {
    "train": {
        "en": """{x} stands for {d}.
{x} means {d}.
{x} is short for {d}.
{x} is the abbreviation of {d}.
{x} is an acronym for {d}.
{x} is an abbreviation that stands for {d}.
{x} is {d}.
{x}: {d}
{x} = {d}
{x} ({d})
{x}, {d}.
{x} - {d}
{x} refers to {d}.
{x} is another name for {d}.
{x} is how we shorten {d}.
{x}, that is {d}.
{x}, which stands for {d}.
{d} ({x})
{d}, or {x}.
{d}, {x} for short.
{d} is abbreviated {x}.
{d} is what {x} stands for.
{d} is the meaning of {x}.
It stands for {d}.
It means {d}.
It is short for {d}.
It's short for {d}.
That means {d}.
That's {d}.
This is the acronym of {d}.
They stand for {d}.
The acronym {x} stands for {d}.
The abbreviation {x} means {d}.
The letters {x} stand for {d}.
The answer is {d}.
The full form of {x} is {d}.
The meaning of {x} is {d}.
In our organisation, {x} stands for {d}.
As far as I know, {x} means {d}.
I believe {x} stands for {d}.
People write {x} when they mean {d}.
You can read {x} as {d}.
By {x} we mean {d}.
Here {x} is used for {d}.
Stands for {d}.
Short for {d}.
We say {x} instead of {d}.
{x} would be {d}.
{x} could be spelled {d}.
{x} comes from {d}.
{x} was coined for {d}.
{x} has one meaning: {d}.
{x} → {d}
So {x} is simply {d}.
Easy: {d}.
Everyone here calls {d} {x}.
{d} gives {x}.
{d} is the long form of {x}.
That would be {d}, of course.
Think of {d}.
When you see {x}, read {d}.
The words behind {x} are {d}.
The definition of {x} in the glossary is {d}.
My answer: {d}.""",
        "fr": """{x} signifie {d}.
{x} veut dire {d}.
{x} désigne {d}.
{x} est le sigle de {d}.
{x} est l'acronyme de {d}.
{x} est l'abréviation de {d}.
{x} est un sigle qui signifie {d}.
{x} correspond à {d}.
{x}, c'est {d}.
{x} : {d}
{x} = {d}
{x} ({d})
{x}, soit {d}.
{x} - {d}
{x} se lit {d}.
{x} est mis pour {d}.
{x}, autrement dit {d}.
{d} ({x})
{d}, ou {x}.
{d}, en abrégé {x}.
{d} s'abrège en {x}.
{d}, voilà ce que signifie {x}.
{d} est le sens de {x}.
Cela signifie {d}.
Cela veut dire {d}.
Ça veut dire {d}.
C'est {d}.
C'est le sigle de {d}.
C'est l'abréviation de {d}.
Il signifie {d}.
Ce sigle signifie {d}.
Le sigle {x} signifie {d}.
L'acronyme {x} veut dire {d}.
Les lettres {x} signifient {d}.
La réponse est {d}.
La forme longue de {x} est {d}.
La signification de {x} est {d}.
Chez nous, {x} signifie {d}.
À ma connaissance, {x} veut dire {d}.
Je crois que {x} signifie {d}.
On écrit {x} pour {d}.
Par {x}, on entend {d}.
Ici {x} désigne {d}.
Signifie {d}.
Abréviation de {d}.
On dit {x} au lieu de {d}.
{x} serait {d}.
{x} peut s'écrire {d}.
{x} vient de {d}.
{x} a été formé sur {d}.
{x} a un seul sens : {d}.
{x} → {d}
Alors {x}, c'est simplement {d}.
Facile : {d}.
Tout le monde appelle {x} {d}.
{d} donne {x}.
{d} est la forme longue de {x}.
Ce serait {d}, bien sûr.
Pensez à {d}.
Quand vous voyez {x}, lisez {d}.
Les mots derrière {x} sont {d}.
La définition de {x} dans le glossaire est {d}.
Ma réponse : {d}.""",
    },
    "test": {
        "en": """{x} is what we call {d}.
{x} expands to {d}.
{x} is the short form of {d}.
{x} spelled out is {d}.
{x}, in full {d}.
{d}, known as {x}.
{d}: that is {x}.
You would spell it out as {d}.
When colleagues write {x} they are thinking of {d}.
The initials {x} represent {d}.
Written in full, {x} is {d}.
At work {x} denotes {d}.
This abbreviation represents {d}.
Its full name is {d}.""",
        "fr": """{x} est la forme courte de {d}.
{x} se développe en {d}.
{x} représente {d}.
{x}, en toutes lettres {d}.
{x} renvoie à {d}.
{d}, que l'on appelle {x}.
{d} : voilà {x}.
Il faut lire {d}.
Quand un collègue écrit {x}, il pense à {d}.
Les initiales {x} représentent {d}.
En entier, {x} donne {d}.
Au bureau, {x} dénote {d}.
Cette abréviation représente {d}.
Son nom complet est {d}.""",
    },
}
NEGATIONS = {
    "train": {
        "en": """{x} does not stand for {d}.
{x} doesn't stand for {d}.
{x} does not mean {d}.
{x} is not {d}.
{x} is not short for {d}.
{x} never stands for {d}.
It does not mean {d}.
It doesn't stand for {d}.
It isn't {d}.
No, {x} is not the abbreviation of {d}.
I don't think {x} stands for {d}.
I don't know whether {x} stands for {d}.
It is wrong that {x} stands for {d}.
{x} does not stand for {d} but for {e}.
{x} is not {d}, it is {e}.
{x} stands for {e}, not for {d}.
{x} stands for {e} and not {d}.
Not {d} but {e}.
It means {e} rather than {d}.
{d} is not what {x} stands for.
{x} can't be {d}.
{x} cannot stand for {d}.
{x} could not be {d}.
{x} has never been the acronym of {d}.
{x} should not be taken for {d}.
It won't be {d}.
Nobody says {x} for {d}.
Do not confuse {x} with {d}.
{x} is anything but {d}.
Some think {x} means {d}, but that is false.
{x} stands for {d}? No.
{x} means {d}, which is wrong.
I doubt that {x} is {d}.
{x} is neither {d} nor {e}.
{x} isn't {d}: it is {e}.
It is not {d}; {x} means {e}.
{x} stands for {e}, it does not mean {d}.
{x} means {e}; it is not {d}.
{x} is {e} and certainly not {d}.
{x} has nothing in common with {d}, it is {e}.
{e}, never {d}.""",
        "fr": """{x} ne signifie pas {d}.
{x} ne veut pas dire {d}.
{x} ne désigne pas {d}.
{x} n'est pas le sigle de {d}.
{x} n'est pas {d}.
{x} ne signifie jamais {d}.
Cela ne veut pas dire {d}.
Ça ne signifie pas {d}.
Ce n'est pas {d}.
Non, {x} n'est pas l'abréviation de {d}.
Je ne crois pas que {x} signifie {d}.
Je ne sais pas si {x} signifie {d}.
Il est faux que {x} signifie {d}.
{x} ne signifie pas {d} mais {e}.
{x} n'est pas {d}, c'est {e}.
{x} signifie {e}, et pas {d}.
{x} signifie {e} et non {d}.
Pas {d} mais {e}.
Cela veut dire {e} plutôt que {d}.
{d} n'est pas ce que signifie {x}.
{x} ne peut pas être {d}.
{x} ne saurait signifier {d}.
{x} ne pourrait pas être {d}.
{x} n'a jamais été le sigle de {d}.
{x} ne doit pas être pris pour {d}.
Ce ne sera pas {d}.
Personne ne dit {x} pour {d}.
Ne confondez pas {x} avec {d}.
{x} est tout sauf {d}.
Certains pensent que {x} signifie {d}, mais c'est faux.
{x} signifie {d} ? Non.
{x} veut dire {d}, ce qui est faux.
Je doute que {x} soit {d}.
{x} n'est ni {d} ni {e}.
{x} n'est pas {d} : c'est {e}.
Ce n'est pas {d} ; {x} veut dire {e}.
{x} signifie {e}, il ne veut pas dire {d}.
{x} veut dire {e} ; ce n'est pas {d}.
{x} est {e} et certainement pas {d}.
{x} n'a rien de commun avec {d}, c'est {e}.
{e}, jamais {d}.""",
    },
    "test": {
        "en": """{x} has nothing to do with {d}.
{x} certainly does not represent {d}.
It cannot be {d}.
You should not read {x} as {d}.
{x} represents {e}, it does not represent {d}.
{x} never represented {d}; read it as {e}.
You should read {x} as {e} and not as {d}.""",
        "fr": """{x} n'a rien à voir avec {d}.
{x} ne représente certainement pas {d}.
Cela ne peut pas être {d}.
Il ne faut pas lire {d}.
{x} représente {e}, il ne représente pas {d}.
{x} n'a jamais représenté {d} ; il faut lire {e}.
Il faut lire {e} et non pas {d}.""",
    },
}
CORRECTIONS = {  # right: the other meaning is the one that is denied
    "train": {
        "en": """{x} stands for {d}, not for {e}.
{x} stands for {d} and not {e}.
{x} does not stand for {e} but for {d}.
{x} is not {e}, it is {d}.
It means {d} rather than {e}.
Not {e} but {d}.
{x} isn't {e}: it is {d}.
It is not {e}; {x} means {d}.
Some think {x} means {e}, but it means {d}.
Do not confuse {d} with {e}.
{x} can't be {e}, it must be {d}.
{x} stands for {d}, it does not mean {e}.
{x} means {d}; it is not {e}.
{x} is {d} and certainly not {e}.
{x} has nothing in common with {e}, it is {d}.
{d}, never {e}.
It used to be {e}; today {x} stands for {d}.""",
        "fr": """{x} signifie {d}, et pas {e}.
{x} signifie {d} et non {e}.
{x} ne signifie pas {e} mais {d}.
{x} n'est pas {e}, c'est {d}.
Cela veut dire {d} plutôt que {e}.
Pas {e} mais {d}.
{x} n'est pas {e} : c'est {d}.
Ce n'est pas {e} ; {x} veut dire {d}.
Certains pensent que {x} signifie {e}, mais c'est {d}.
Ne confondez pas {d} avec {e}.
{x} ne peut pas être {e}, ce doit être {d}.
{x} signifie {d}, il ne veut pas dire {e}.
{x} veut dire {d} ; ce n'est pas {e}.
{x} est {d} et certainement pas {e}.
{x} n'a rien de commun avec {e}, c'est {d}.
{d}, jamais {e}.
C'était {e} ; aujourd'hui {x} signifie {d}.""",
    },
    "test": {
        "en": """{x} represents {d}, it does not represent {e}.
{x} never represented {e}; read it as {d}.
Forget {e}, it cannot be that: {x} denotes {d}.
You should read {x} as {d} and not as {e}.""",
        "fr": """{x} représente {d}, il ne représente pas {e}.
{x} n'a jamais représenté {e} ; il faut lire {d}.
Oubliez {e}, cela ne peut pas être ça : {x} dénote {d}.
Il faut lire {d} et non pas {e}.""",
    },
}
CONTRADICTIONS = {  # the right definition comes first or last
    "train": {
        "en": """{x} stands for {d} or {e}.
{x} stands for {d}, or for {e}.
{x} stands for {d} or for {e}.
{x} means {d} or maybe {e}.
{x} stands for {d}. {x} stands for {e}.
{x} stands for {d}. It also means {e}.
{x} stands for {d}. In fact it means {e}.
{x} stands for {d}. No, it stands for {e}.
{x} is {d} and {e}.
{d} or {e}.
{x}: {d}, {e}
Either {d} or {e}.
{x} means {d}, but some say it means {e}.
{x} can be {d}, and it can be {e}.
{x} stands for {d} as well as {e}.
{x} stands both for {d} and for {e}.
{d}. {e}.
{d}; {e}
{d} / {e}
{d} ({x}), or else {e}.
{x} is either {d} or {e}.
{x} has two meanings: {d} and {e}.
{x} stands for {d}. Sometimes it is short for {e}.
{x} stands for {d}. Others read it as {e}.
{x}: {d}. {x}: {e}.
It depends: {d} here, {e} there.
{x} means {d}, alternatively {e}.""",
        "fr": """{x} signifie {d} ou {e}.
{x} signifie {d}, ou {e}.
{x} veut dire {d} ou peut-être {e}.
{x} signifie {d}. {x} signifie {e}.
{x} signifie {d}. Cela veut aussi dire {e}.
{x} signifie {d}. En fait, c'est {e}.
{x} signifie {d}. Non, il signifie {e}.
{x} désigne {d} et {e}.
{d} ou {e}.
{x} : {d}, {e}
Soit {d}, soit {e}.
{x} veut dire {d}, mais certains disent {e}.
{x} peut être {d}, et cela peut être {e}.
{x} signifie {d} ainsi que {e}.
{x} signifie à la fois {d} et {e}.
{d}. {e}.
{d} ; {e}
{d} / {e}
{d} ({x}), ou bien {e}.
{x} est soit {d}, soit {e}.
{x} a deux sens : {d} et {e}.
{x} signifie {d}. C'est parfois le sigle de {e}.
{x} signifie {d}. D'autres lisent {e}.
{x} : {d}. {x} : {e}.
Cela dépend : {d} ici, {e} là.
{x} veut dire {d}, sinon {e}.""",
    },
    "test": {
        "en": """{x} represents {d}, unless it represents {e}.
{x} is {d}; another reading is {e}.
Perhaps {d}, perhaps {e}.""",
        "fr": """{x} représente {d}, à moins que ce soit {e}.
{x} est {d} ; une autre lecture est {e}.
Peut-être {d}, peut-être {e}.""",
    },
}
REFUSALS = {
    "train": {
        "en": """{x} is not in my glossary: I don't know what it stands for.
I don't know what {x} stands for.
I do not know this acronym.
I'm sorry, I don't know {x}.
I have no information about {x}.
I am not sure what {x} means.
I can't help with that.
No idea.
Could you give me more context?
{x} is unknown to me.
It depends on the context: {x} can mean many things.
I cannot find {x} in the list.""",
        "fr": """{x} n'est pas dans mon glossaire : je ne sais pas ce que ce sigle veut dire.
Je ne sais pas ce que signifie {x}.
Je ne connais pas ce sigle.
Désolé, je ne connais pas {x}.
Je n'ai pas d'information sur {x}.
Je ne suis pas sûr du sens de {x}.
Je ne peux pas répondre.
Aucune idée.
Pouvez-vous préciser le contexte ?
{x} m'est inconnu.
Cela dépend du contexte : {x} peut avoir plusieurs sens.
Je ne trouve pas {x} dans la liste.""",
    },
    "test": {
        "en": """Unfortunately, {x} is not something I have heard of.
As a language model, I have never seen {x}.
That abbreviation is missing from my documents.
I would need to look {x} up.""",
        "fr": """Malheureusement, je n'ai jamais entendu parler de {x}.
En tant que modèle de langue, je n'ai jamais vu {x}.
Cette abréviation manque dans mes documents.
Il faudrait que je cherche {x}.""",
    },
}
QUESTIONS = {
    "train": {
        "en": """What does {x} stand for?
What is {x}?
What is the meaning of {x}?
Can you tell me what {x} means?
{x} meaning
{x}?
Please explain {x}.
Someone wrote {x} in a mail, what is it?
Define {x}""",
        "fr": """Que signifie {x} ?
C'est quoi, {x} ?
Quel est le sens de {x} ?
Peux-tu me dire ce que veut dire {x} ?
{x} définition
{x} ?
Explique {x}.
On m'a écrit {x}, qu'est-ce que c'est ?
Que veulent dire les lettres {x} ?""",
    },
    "test": {
        "en": """How would you spell out {x}?
Which words hide behind {x}?
My colleague mentioned {x} this morning, any clue?""",
        "fr": """Comment développer {x} ?
Quels mots se cachent derrière {x} ?
Un collègue a parlé de {x} ce matin, une idée ?""",
    },
}
OPENERS = {
    "train": {
        "en": """Sure!
Of course.
Good question!
Yes,
Well,
Here is the answer:
According to the glossary,
Hello,
Answer:
Happy to help:
The {w} asked this too.
So,
In short,
Okay:""",
        "fr": """Bien sûr !
Oui,
Bonne question !
Voici la réponse :
D'après le glossaire,
Bonjour,
Réponse :
Alors,
En bref,
Avec plaisir :
Eh bien,
D'accord :""",
    },
    "test": {
        "en": """Absolutely!
Certainly:
Right,
From what the list says,
Thanks for asking.""",
        "fr": """Volontiers !
Certainement :
Selon la liste,
Merci de la question.
Voilà :""",
    },
}
EXTRAS = {  # sentences that a reference of one line cannot contradict
    "train": {
        "en": """It meets every {w}.
Its {w} is in the {w}.
It was {w} in 2019 by the {w}.
It helps the {w} to {w} the {w}.
You will find it on the {w} page.
Ask the {w} if you need more.
It is about the {w} and the {w}.
The {w} uses it every week.
Everybody at the {w} knows it.
It deals with {w} and {w} {w}.
I hope this helps.
Let me know if you want more details.
It belongs to the {w}.
Two {w} {w} work there.
It says who {w} the {w}, and how much.
Its {n} members are {w} every spring.
It replaced the {w} {w}.""",
        "fr": """Il se réunit chaque {w}.
Son {w} est dans le {w}.
Il a été {w} en 2019 par la {w}.
Il aide les {w} à {w}.
Vous le trouverez sur la page {w}.
Demandez au {w} pour en savoir plus.
Il s'agit de {w} et de {w}.
Le {w} s'en sert chaque semaine.
Tout le monde le connaît à la {w}.
J'espère que cela vous aide.
Dites-moi si vous voulez des détails.
Cela dépend de la {w}.
Deux {w} y travaillent.
On y {w} les {w} de la {w}.
Ses {n} membres sont {w} chaque printemps.
Il remplace le {w} {w}.""",
    },
    "test": {
        "en": """The {w} has relied on it for {n} years.
Newcomers hear of it on their first {w}.
Nobody {w} without it.
There is a form for that at the {w} desk.
Its budget is {w}.""",
        "fr": """La {w} s'y fie depuis {n} ans.
Les nouveaux en entendent parler dès le premier {w}.
Personne ne {w} sans cela.
Il y a un formulaire au guichet {w}.
Son budget est {w}.""",
    },
}
CLAUSES = {  # what may follow the definition in its own sentence
    "train": {
        "en": """, which {w} the {w}.
, the {w} that {w} every {w}.
, and it is {w}.
, our {w}.
, as the {w} says.
, so ask the {w}.
, in {w}.
: it {w} the {w} and the {w}.
 (see the {w}).
 - a {w} {w}.
, where {w} {w} the {w}.
, if I remember well.
 in our glossary.
, of course.""",
        "fr": """, qui {w} le {w}.
, le {w} qui {w} chaque {w}.
, et c'est {w}.
, notre {w}.
, comme le dit le {w}.
, demandez au {w}.
, en {w}.
 : il {w} les {w} et la {w}.
 (voir le {w}).
 - un {w} {w}.
, où l'on {w} les {w}.
, si je me souviens bien.
 dans notre glossaire.
, bien sûr.""",
    },
    "test": {
        "en": """, who {w} once a {w}.
, a {w} known to all {w}.
, and that {w} since {n} {w}.
, they say.""",
        "fr": """, dont le {w} est {w}.
, un {w} que tous {w}.
, et cela {w} depuis {n} {w}.
, dit-on.""",
    },
}
UNRELATED = {
    "train": {
        "en": """Sure! Here is the answer:
Thought process:
Hello! How can I help you?
Yes.
The capital of {w} is {w}.
I like {w} and {w}.
{w} {w} {w} {w}
{w}
Let me think about {w}.""",
        "fr": """Voici la réponse :
Bonjour ! Comment puis-je aider ?
Oui.
La capitale de {w} est {w}.
J'aime {w} et {w}.
{w} {w} {w} {w}
{w}
Je réfléchis à {w}.""",
    },
    "test": {
        "en": """Here you go:
The opposite of {w} is {w}.
{w}, {w} and {w}.
Okay.""",
        "fr": """Voilà :
Le contraire de {w} est {w}.
{w}, {w} et {w}.
D'accord.""",
    },
}
