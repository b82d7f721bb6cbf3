"""What each language writes before a full stop that ends no sentence, and what its sentences begin
with.

Words are without the last full stop and in lower case. A word of `never` ends no sentence; one that
is in `final` too may end it behind a number (`г.` in `1999 г.`). One of `before_numbers` ends none
when a number follows. Any other abbreviation needs no entry: it ends a sentence when the next word
begins like one, as it does without a list. Initials and `U.S.` end one only before a word of
`starters`. `ordinals` are languages that write `3.` for `3rd`: not an end after a word of
`before_ordinals` or before one of `after_ordinals`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

_NONE: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Rules:
    """One language's words."""

    never: frozenset[str] = _NONE
    final: frozenset[str] = _NONE
    before_numbers: frozenset[str] = _NONE
    endings_before_numbers: tuple[str, ...] = ()
    """Compounds: `Hauptstr. 5`."""
    starters: frozenset[str] = _NONE
    ordinals: bool = False
    before_ordinals: frozenset[str] = _NONE
    after_ordinals: frozenset[str] = _NONE
    closing: str = ""
    """A mark that closes a sentence although a blank stands before it."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_EVERYWHERE = _words("dr mr mrs ms prof vs st mt")

_EN = Rules(
    never=_EVERYWHERE
    | _words("""
        messrs mmes rev hon gen col maj capt cmdr lt sgt cpl pvt adm sen rep gov pres supt insp
        det fr sr ft e.g i.e eg ie cf viz approx appt dept est al ca resp incl excl hwy
    """),
    final=_words("a.m p.m etc co inc ltd corp jr sr ft est al u.s.a ph.d"),
    before_numbers=_words("""
        no nos nr p pp pg fig figs vol ch chap sec art eq ex ver v n° jan feb mar apr jun jul aug
        sep sept oct nov dec tel ext ft
    """),
    starters=_words("""
        a an and are as at but can could did do does for from have he her here his how however i
        i'd i'll i'm i've if in is it it's its let's me my no not now of on or our please she
        should so some that that's the their then there there's these they this those to today
        tomorrow was we were what what's when where which while who why will with would yes you
        you're your
    """),
)
_DE = Rules(
    never=_words("""
        dr prof hr fr hrn frl dipl ing med jur phil mag st z.b d.h u.a o.ä i.d.r u.u v.a z.t bzw
        bspw ca evtl ggf inkl exkl zzgl sog vgl z.zt d i.a i.v m.e o.g s.o s.u u.v.m gem lt max
        min mind geb gest verh ehem str a.d e.v b.w mr mrs allg bes insb urspr entspr z b u
    """),
    final=_words("str e.v max min u.a o.ä v.chr n.chr chr"),
    before_numbers=_words("""
        nr abs art s seite bd kap abb tab tel fig vol § jan feb mär apr jun jul aug sep sept okt
        nov dez
    """),
    starters=_words("""
        aber als am an auch auf bei bitte da danach das dass dein deine dem den der deshalb die
        dies diese dieser dieses doch du ein eine er es für hast hat heute hier ich ihr ihre im in
        ist ja jetzt kann mein meine mit morgen nach nein nun ob oder sie sind so soll und von
        wann warum was weil wenn wer wie wir wird wo zu zum zur
    """),
    endings_before_numbers=("str",),
    ordinals=True,
    before_ordinals=_words("""
        ab am an bis beim das dem den der des die im jeden jeder jedes seit vom zum zur mein meine
        meinen meinem dein deine sein seine seinen seinem ihr ihre ihren ihrem unser unsere diesem
        diesen jedem ein einen einem etwa der/die montag dienstag mittwoch donnerstag freitag
        samstag sonntag montag, dienstag, mittwoch, donnerstag, freitag, samstag, sonntag,
    """),
    after_ordinals=_words("""
        januar jänner februar märz april mai juni juli august september oktober november dezember
        jahrhundert jahrhunderts jahrtausend weltkrieg weltkriegs klasse stock etage geburtstag
        platz quartal kapitel mal
    """),
)
_FR = Rules(
    never=_words("""
        m mm mme mlle mmes mlles dr pr me mgr st ste cf p.ex c.-à-d c.à.d env av bd bld ing lt col
        gén cap apr hab ex réf prof
    """),
    final=_words("etc bd bld j.-c hab ex"),
    before_numbers=_words("""
        n no nº n° p pp art chap fig vol t tél al janv févr avr juil sept oct nov déc
    """),
    starters=_words("""
        à alors après au aujourd'hui aussi avec c'est ce cela ces cette dans de demain des donc du
        elle elles en est et il ils j'ai je l' la le les leur lui ma mais mes mon ne non nos notre
        nous on ou où oui par pour pourquoi quand que quel quelle qui quoi sa ses si son sur ton
        tu un une vos votre vous y
    """),
    closing="»",
)
_ES = Rules(
    never=_words("""
        sr sra srta sres sras srtas dr dra d dña dn ud uds vd vds prof profa lic ing arq gral cnel
        tte sto sta san p.ej ej aprox av avda c ctra pza núm izq dcha fdo mons rvdo ee excmo ilmo
        pdte depto
    """),
    final=_words("etc a.m p.m a.c d.c av avda izq dcha ee.uu depto"),
    before_numbers=_words("""
        núm n nº n.º no p pág págs pp art cap fig vol tel ene feb mar abr may jun jul ago sep sept
        oct nov dic lun mié jue vie sáb dom
    """),
    starters=_words("""
        a ahora al aquí así aunque como con cuál cuando cuándo cuánto de del desde después dónde
        el él ella ellas ellos en entonces es esa ese eso esta está estas este esto estos fue hay
        hoy la las le lo los luego mañana me mi muy no nos o para pero por porque puede qué que
        quién se si sí sin sobre su sus también te tengo tiene todo tu tú un una usted y ya yo
    """),
)
_IT = Rules(
    never=_words("""
        sig sigg sig.ra sigra signa dott dott.ssa dottssa dr prof prof.ssa profssa ing avv arch
        geom rag on sen gen col cap ten mons s ss st p.es es cfr ca c.a v vs circa egr gent spett
        p.zza
    """),
    final=_words("ecc etc a.c d.c s.p.a s.r.l p.zza"),
    before_numbers=_words("""
        n nn nr num p pp pag pagg art artt cap fig vol tel § nro gen feb mar apr mag giu lug ago set
        ott nov dic lun mer gio ven sab dom
    """),
    starters=_words("""
        a adesso al alla allora anche che chi ci come con cosa così da dal del della di domani
        dopo dove e è ecco gli ha ho i il in io l' la le lei lo loro lui ma mi mia mio nel nella
        no noi non o oggi ora per perché poi può qual quale quando quanto quella quello questa
        questo se sei si sì sono su sua suo ti tu tutto un una uno voi
    """),
)
_PT = Rules(
    never=_words("""
        sr sra srta srs sras dr dra d dª prof profa eng arq gen cel cap ten sto sta exmo exma ilmo
        av p.ex ex aprox trav lda pç vs
    """),
    final=_words("etc a.c d.c a.m p.m av lda s.a ltda ex e.u.a"),
    before_numbers=_words("n nº n.º no núm p pág págs pp art cap fig vol tel"),
    starters=_words("""
        a agora ainda amanhã ao aqui as até com como da de depois do e é ela elas ele eles em
        então entre essa esse esta está este eu foi há hoje isso isto já mas me meu minha muito na
        não no nos nós o onde os ou para pela pelo pode por porque qual quando quanto que quem se
        sem seu sim sobre sua também tem tenho tu tudo um uma você vocês
    """),
)
_NL = Rules(
    never=_words("""
        dhr mevr mw dr drs ir ing mr prof ds st bv bijv d.w.z i.v.m m.b.t o.a t.o.v z.g n.a.v evt
        ca resp incl excl max min zgn i.p.v t.a.v m.n o.l.v t.b.v a.u.b s.v.p ong vgl
    """),
    final=_words("enz e.d e.a n.chr v.chr a.u.b s.v.p max min b.v n.v"),
    before_numbers=_words("""
        nr nrs art blz p pp fig hfst tel vol afb jan feb mrt apr aug sep okt nov dec
    """),
    starters=_words("""
        aan al als alle ben bij daar dan dat de deze die dit door een en er ga geen had heb hebben
        heeft het hier hij hoe hun ik in is ja jij je jullie kan maar met mijn morgen naar nee
        niet nog nu of om onze ook op over te toen u uit uw van vandaag voor waar waarom want was
        wat we wel welke wie wij wil worden ze zij zijn zo
    """),
)
_PL = Rules(
    never=_words("""
        dr prof mgr inż lek hab ks gen płk mjr kpt por św ul al pl os np tzn tj m.in ok ww wg zob
        dot gł im o.o br red nt tzw jw pw pt
    """),
    final=_words("itd itp r w zł gr godz tys mln mld min sek cd n.e p.n.e ds o.o pt"),
    before_numbers=_words("nr s str t tab rys art ust pkt rozdz tel godz poz"),
    starters=_words("""
        a ale ani bo być była było był ci co czy dla do dzisiaj dziś gdy gdzie go i ich ile ja jak
        jaka jaki jakie jego jej jest jestem jeśli już jutro kiedy kto która który ma mam może mój
        moja my na nie nic o od on ona one oni ono po pod proszę przed przez się są ta tak tam te
        teraz ten to tu tutaj twój ty w wczoraj we więc wszystko wtedy wy z za zawsze że
    """),
    ordinals=True,
    after_ordinals=_words("""
        stycznia lutego marca kwietnia maja czerwca lipca sierpnia września października listopada
        grudnia wieku
    """),
)
_RU = Rules(
    never=_words("""
        г гор ул пр просп пгт пл пер наб б-р д корп кв р-н обл им св проф акад доц канд инж т.е т.к
        т.н т.о напр см ср гр гражд тов зам зав ред сост изд ок прим мин макс тел о мр
    """),
    final=_words("""
        г гг в вв т.д т.п др пр руб коп тыс млн млрд мин сек ч кг н.э л с д кв макс
    """),
    before_numbers=_words("№ с стр рис табл гл разд п пп ст т ч вып кв д корп ок тел"),
    starters=_words("""
        а без был была было были в вам вас ваш ведь вот все всё вы где да для до его ее её если
        есть ещё за завтра здесь и из или им их к как какая какой когда кто куда мне можно мой моя
        мы на нам нас наш не нет но ну о об он она они оно от по под после потом потому почему при
        с сегодня сейчас со так там теперь то тогда тоже только ты у уже чем что чтобы эта эти это
        этот я
    """),
)
_HI = Rules(
    never=_words("""
        डॉ डा श्री श्रीमती सुश्री प्रो पं कु स्व मा ले कर्नल जन इंजी एड कि.मी कि.ग्रा से.मी मि.मी
        मि ई.पू
    """),
    before_numbers=_words("रु सं नं पृ क्र रू"),
)
_AR = Rules(
    never=_words("د أ أ.د م ا.د ش ك.م س ج ق.م"),
    before_numbers=_words("ص ت رقم ج ع م"),
)
_EAST = Rules(
    never=_EN.never, final=_EN.final, before_numbers=_EN.before_numbers, starters=_EN.starters
)

RULES: Mapping[str, Rules] = {
    "en": _EN, "de": _DE, "fr": _FR, "es": _ES, "it": _IT, "pt": _PT, "nl": _NL, "pl": _PL,
    "ru": _RU, "hi": _HI, "ar": _AR, "zh": _EAST, "ja": _EAST,
}  # fmt: skip
OTHERWISE = Rules(never=_EVERYWHERE)
"""For a language that is not listed."""


def rules_for(language: str | None) -> Rules:
    """The rules of a language by its BCP 47 tag (`de-AT` is German)."""
    return RULES.get((language or "").replace("_", "-").split("-")[0].lower(), OTHERWISE)
