"""Written cases for the splitter: a text per line, ` | ` where a sentence ends and the next begins.

Between two sentences stands a blank, in Chinese and Japanese nothing. `LINES` has the cases in
which line breaks matter, as (language, sentences with their line breaks).
"""

ENGLISH = """
Hello there. | How are you?
The light is on. | The window is open. | Nothing else is.
It is 21.5 degrees outside. | Tomorrow it will be 18.
Dr. Smith is here. | He wants to see Mr. Jones.
Mrs. Miller and Ms. Brown met Prof. Green.
The train leaves at 5 p.m. | You should go now.
The train leaves at 5 p.m. from platform 3.
I called at 7 a.m. and again at noon.
Use a tool, e.g. a hammer. | Then stop.
Use a metal, i.e. Copper or Tin. | It conducts.
Bring milk, eggs, etc. | Do not forget the bread.
Bring milk, eggs, etc. to the party.
Apple Inc. makes phones. | They are expensive.
She works at Miller Corp. | It is a large firm.
He lives in the U.S. | He likes it there.
The U.S. Army is large.
He flew to the U.K. in May.
J. R. R. Tolkien wrote it. | I read it twice.
George W. Bush was president.
It was plan B. | The first one had failed.
You and I. | That is all.
See p. 55 for more. | It is short.
See No. 5 and fig. 3 on pp. 10 to 12.
No. | I will not.
Is it on? | Yes, it is.
Really?! | I had no idea.
Wait! | Stop!
Wait... what was that?
Wait... | Something moved.
Well… maybe. | We will see…
"Stop!" he shouted. | Nobody moved.
"It works." | She smiled.
She said, "It works." | Then she left.
He asked, "Why?" and left.
(It was late.) | We went home.
It was late (very late). | We went home.
He came (he was late.) and sat down.
Open www.example.com/a.b?c=d. | Then click.
Write to jane.doe@example.com. | She will answer.
Version 1.2.3 is out. | Install it.
It costs $4.50. | That is cheap.
The meeting is on Jan. 5 at noon.
The year was 1984. | Everything changed.
It has 3.5 million users. | Most are happy.
Mt. Everest is high. | St. Moritz is not.
John Jr. is tall. | Martin Luther King Jr. was a preacher.
Set it to 20. | Then wait.
1. Open the lid. | 2. Press the button. | 3. Wait.
1) Flour | 2) Sugar | 3) Eggs
Great! | 😀 Let us start.
Great!😀 | Let us start.
That's it! | **Done.** | Anything else?
**Note:** it is *cold.* | Wear a coat.
Yahoo! is a company. | So is Google.
The temperature is 5°C. | The wind is weak.
It rained... and it rained.
He said no. no means no.
What time is it? | It's 10:30. | You have 5 minutes.
Gen. Lee met Gov. Hall. | They talked.
We paid approx. 50 dollars. | It was worth it.
A vs. B is the question. | I take A.
Let me see: the lamp, the fan, and the heater. | All are off.
I'm done. | You're next; I'll wait.
He is 6 ft. tall. | She is 5 ft. 3 in.
The file is a.txt. | Open it.
"""

GERMAN = """
Das Licht ist an. | Das Fenster ist offen.
Es sind 21,5 Grad. | Morgen werden es 18.
Es sind 1.234,50 Euro. | Das ist viel.
Dr. Müller ist da. | Er sucht Prof. Schmidt.
Hr. Meier und Fr. Huber kommen z.B. morgen.
Nimm ein Werkzeug, z.B. Hammer oder Zange. | Dann hör auf.
Nimm ein Werkzeug, z. B. Hammer oder Zange. | Dann hör auf.
Das ist gut, d.h. Sie können gehen.
Am 3. Oktober ist Feiertag. | Da haben wir frei.
Der 2. Weltkrieg endete 1945. | Danach begann der Aufbau.
Wir treffen uns am 24. Dezember um 18.30 Uhr.
Das ist sein 5. Geburtstag. | Er freut sich.
Es ist Platz 3. | Das ist gut.
Die Antwort ist 42. | Das weiß jeder.
Am 3.10. ist frei. | Am 4.10. nicht.
Milch, Eier usw. | Das ist alles.
Milch, Eier usw. sind da.
Es kostet ca. 50 Euro. | Das geht.
Er wohnt in der Hauptstr. 5. | Sie auch.
Siehe Abs. 3 und Nr. 5. | Dort steht es.
Ist es an? | Ja, ist es.
Halt! | Stehen bleiben!
„Komm her!“ rief er. | Niemand kam.
„Komm her.“ | Er ging.
»Komm her.« | Er ging.
Er sagte: „Es geht.“ | Dann ging er.
Na ja... vielleicht. | Mal sehen.
Das Treffen ist um 10 Uhr. | Es dauert bis 11.30 Uhr.
J. W. von Goethe schrieb es. | Ich las es.
1. Deckel öffnen. | 2. Knopf drücken. | 3. Warten.
Der Zug fährt um 8.15 Uhr. | Bitte beeilen Sie sich.
Frag bspw. Herrn Maier bzw. Frau Huber.
Das ist im 1. Stock. | Dort hinten.
Es stammt aus dem 1. – 3. Jahrhundert. | Es ist alt.
"""

FRENCH = """
La lumière est allumée. | La fenêtre est ouverte.
Il fait 21,5 degrés. | Demain il fera 18.
M. Dupont est là. | Il cherche Mme Martin.
MM. Dupont et Durand sont partis.
Le Dr. Petit arrive. | Il est pressé.
Achetez du lait, des œufs, etc. | Merci.
Achetez du lait, etc. avant midi.
Bonjour ! | Comment allez-vous ?
Vraiment ? | Oui, vraiment !
Il a dit : « Bonjour. » | Puis il est parti.
Il a dit : « Bonjour ! » et il est parti.
« Venez ! » | Il sortit.
Voir p. 12 et fig. 3. | C'est clair.
Le no. 5 est libre. | Prenez-le.
C'est l'art. 3 du code. | Il est court.
J.-P. Belmondo est un acteur. | Il est connu.
Il habite aux U.S.A. | Il aime ce pays.
Le train part à 8 h 15. | Dépêchez-vous.
Eh bien... peut-être. | On verra.
Eh bien… | Nous verrons.
Cela coûte 4,50 euros. | C'est peu.
Cela coûte 1.250 euros. | C'est cher.
1. Ouvrez le couvercle. | 2. Appuyez. | 3. Attendez.
Prenez un outil, p.ex. Un marteau convient. | Voilà.
Écrivez à jean.dupont@example.fr. | Il répondra.
Il naquit en 50 av. J.-C. à Rome.
"""

SPANISH = """
La luz está encendida. | La ventana está abierta.
Hace 21,5 grados. | Mañana hará 18.
El Sr. García está aquí. | Busca a la Sra. López.
La Dra. Ruiz llegó. | Habla con D. Juan.
¿Cómo estás? | ¡Muy bien!
¡Hola! | ¿Qué tal?
¿De verdad? | Sí, de verdad.
Compra leche, huevos, etc. | No olvides el pan.
Compra leche, etc. para mañana.
Son las 5 p.m. | Tienes que salir.
Son las 5 p.m. en Madrid.
Vive en EE.UU. | Le gusta mucho.
Vive en EE. UU. | Le gusta mucho.
La cita es el lun. 15 de mar. de 2026. | Gracias.
Vea la pág. 12 y el art. 3. | Es corto.
Vive en Avda. Goya. | Es larga.
Use algo, p. ej. un martillo. | Luego pare.
Cuesta 1.250,50 euros. | Es caro.
Dijo: «Ya voy.» | Luego salió.
«¡Ven!» | Él salió.
¿Vienes? | Sí.
Bueno... quizás. | Ya veremos.
Bueno... | Ya veremos.
El n.º 5 está libre. | Tómelo.
1. Abra la tapa. | 2. Pulse el botón. | 3. Espere.
Uds. tienen razón. | Me equivoqué.
J. L. Borges lo escribió. | Lo leí.
"""

ITALIAN = """
La luce è accesa. | La finestra è aperta.
Ci sono 21,5 gradi. | Domani saranno 18.
Il sig. Rossi è qui. | Cerca la dott.ssa Bianchi.
Il Dott. Verdi arriva. | Ha fretta.
Compra latte, uova, ecc. | Non dimenticare il pane.
Compra latte, ecc. per domani.
Come stai? | Bene!
Davvero?! | Non lo sapevo.
Vedi pag. 12 e art. 3. | È breve.
È nato nel 50 a.C. | Morì giovane.
Abita in P.zza Dante. | È bella.
Ha detto: «Arrivo.» | Poi è uscito.
"Arrivo!" disse. | Poi uscì.
Beh... forse. | Vedremo.
Costa 1.250,50 euro. | È caro.
Il treno parte alle 8.15. | Sbrigati.
L'avv. Neri e l'ing. Conti sono partiti.
Usa qualcosa, p.es. Martello o pinza.
1. Apri il coperchio. | 2. Premi. | 3. Aspetta.
U. Eco lo scrisse. | Io lo lessi.
Scrivi a mario.rossi@example.it. | Risponderà.
La Fiat S.p.A. è grande. | È di Torino.
"""

PORTUGUESE = """
A luz está acesa. | A janela está aberta.
Estão 21,5 graus. | Amanhã estarão 18.
O Sr. Silva está aqui. | Procura a Sra. Costa.
A Dra. Lima chegou. | Está com pressa.
Compre leite, ovos, etc. | Não esqueça o pão.
Compre leite, etc. para amanhã.
Como está? | Muito bem!
Sério?! | Eu não sabia.
Veja a pág. 12 e o art. 3. | É curto.
Mora na Av. Paulista. | É longa.
Custa R$ 1.250,50. | É caro.
Ele disse: «Já vou.» | Depois saiu.
"Venha!" disse ele. | Ninguém veio.
Bem... talvez. | Veremos.
O trem parte às 8h15. | Apresse-se.
O prof. Sousa e o eng. Reis saíram.
São 5 p.m. em Lisboa. | Está sol.
Use algo, p.ex. Martelo ou alicate. | Depois pare.
1. Abra a tampa. | 2. Aperte o botão. | 3. Espere.
M. Assis escreveu isso. | Eu li.
O n.º 5 está livre. | Pode usar.
A empresa X Ltda. é grande. | Fica no Porto.
"""

DUTCH = """
Het licht is aan. | Het raam is open.
Het is 21,5 graden. | Morgen wordt het 18.
Dhr. Jansen is er. | Hij zoekt mevr. De Vries.
Dr. Bakker komt. | Hij heeft haast.
Koop melk, eieren, enz. | Vergeet het brood niet.
Koop melk, enz. voor morgen.
Neem iets, bijv. Hamers of tangen.
Hoe gaat het? | Goed!
Echt waar?! | Dat wist ik niet.
Zie blz. 12 en art. 3. | Het is kort.
Het kost ca. 50 euro. | Dat gaat wel.
Het kost 1.250,50 euro. | Dat is duur.
Hij zei: "Ik kom." | Toen ging hij.
"Kom!" riep hij. | Niemand kwam.
Tja... misschien. | We zullen zien.
De trein vertrekt om 8.15 uur. | Schiet op.
Hij is m.b.t. Duitsland een kenner.
1. Open het deksel. | 2. Druk op de knop. | 3. Wacht.
A. Frank schreef het. | Ik las het.
's Avonds is het koud. | Overdag niet.
Nr. 5 is vrij. | Neem die maar.
Het is 10 a.u.b. niet later.
"""

POLISH = """
Światło jest włączone. | Okno jest otwarte.
Jest 21,5 stopnia. | Jutro będzie 18.
Dr Kowalski jest tutaj. | Szuka pani Nowak.
Prof. Nowak już przyszedł. | Spieszy się.
Kup mleko, jajka itd. | Nie zapomnij o chlebie.
Kup mleko, jajka itp. na jutro.
Weź coś, np. Młotek albo klucz. | Potem przestań.
Jak się masz? | Dobrze!
Naprawdę?! | Nie wiedziałem.
Zobacz str. 12 i art. 3. | To krótkie.
Mieszka na ul. Długiej. | Lubi to miejsce.
Urodził się w 1984 r. | Mieszka w Krakowie.
Urodził się w 1984 r. w Krakowie.
Spotkamy się 3. maja. | Będzie wolne.
To numer 5. | Jest wolny.
Kosztuje 50 zł. | To niedużo.
Kosztuje ok. 50 zł za sztukę.
Powiedział: „Już idę.” | Potem wyszedł.
„Chodź!” zawołał. | Nikt nie przyszedł.
No cóż... może. | Zobaczymy.
Pociąg odjeżdża o 8.15. | Pospiesz się.
1. Otwórz pokrywę. | 2. Naciśnij przycisk. | 3. Czekaj.
A. Mickiewicz to napisał. | Czytałem to.
To ma 3 mln złotych. | Dużo.
"""

RUSSIAN = """
Свет включён. | Окно открыто.
Сейчас 21,5 градуса. | Завтра будет 18.
Г. Иванов здесь. | Он ищет проф. Петрова.
Он живёт в г. Москва. | Ему нравится.
Он родился в 1984 г. | Он живёт в Казани.
Он родился в 1984 г. в Казани.
Купи молоко, яйца и т.д. | Не забудь хлеб.
Купи молоко и т.п. на завтра.
Возьми что-нибудь, т.е. Молоток или ключ.
Как дела? | Хорошо!
Правда?! | Я не знал.
См. стр. 12 и рис. 3. | Это коротко.
Он живёт на ул. Ленина. | Она длинная.
Это стоит 50 руб. | Это недорого.
Это стоит 50 руб. за штуку.
Он сказал: «Иду.» | Потом ушёл.
«Иди сюда!» | Никто не пришёл.
Ну... может быть. | Увидим.
«Ты готов? – спросила мама. | – Пора идти».
Ну… | Посмотрим.
А. С. Пушкин написал это. | Я читал.
1. Откройте крышку. | 2. Нажмите кнопку. | 3. Ждите.
Поезд уходит в 8.15. | Поторопитесь.
Там 3 млн. человек. | Это много.
Встреча 5 мая в 10:30. | Не опоздай.
"""

CHINESE = """
灯开着。|窗户也开着。
现在21.5度。|明天18度。
你好！|你好吗？
真的吗？！|我不知道。
他说：“你好。”|然后走了。
他说：“你好！”|她笑了。
好的……我知道了。
等一下……
价格是4.50元。|很便宜。
请看第3.2节。|很短。
网址是www.example.com。|请打开。
Dr. Wang来了。|他很忙。
iPhone 15很好。|我喜欢。
OK!|好的。
（很晚了。）|我们回家了。
《红楼梦》很长。|我读过。
今天是5月1日。|放假。
你要茶吗？|还是咖啡？
完成！|还有别的吗？
时间是10:30。|快走吧。
打开盖子。|按按钮。
好！😀|开始吧。
他问“为什么？”|没人回答。
你看过《快跑！小鸡》吗？|看过。
音量是30%。|要调高吗？
"""

JAPANESE = """
電気がついています。|窓も開いています。
今は21.5度です。|明日は18度です。
こんにちは！|お元気ですか？
本当ですか？！|知りませんでした。
「行きます。」と言いました。|そして出ました。
「行きます」と言いました。|彼は笑いました。
「早く！」|彼は走った。
ええと……そうですね。|わかりました。
値段は4.50ドルです。|安いです。
第3.2節を見てください。|短いです。
www.example.comを開いてください。|次へ進みます。
Dr. Yamadaが来ました。|忙しいです。
iPhone 15は良いです。|好きです。
（遅いです。）|帰りましょう。
今日は5月1日です。|休みです。
お茶ですか？|コーヒーですか？
完了！|他にありますか？
時間は10:30です。|急いでください。
はい。|わかりました。
いいですね！😀|始めましょう。
「なぜ？」と聞いた。|答えはない。
音量は30%です。|上げますか？
タイマーを5分に設定しました。|他には？
「はい。」|「いいえ。」
"""

HINDI = """
बत्ती जल रही है। | खिड़की खुली है।
अभी 21.5 डिग्री है। | कल 18 होगा।
डॉ. शर्मा यहाँ हैं। | वे श्री. वर्मा को ढूँढ रहे हैं।
आप कैसे हैं? | मैं ठीक हूँ!
सच में?! | मुझे नहीं पता था।
उसने कहा, "मैं आता हूँ।" | फिर वह गया।
रुको! | सुनो।
कीमत रु. 50 है। | यह सस्ता है।
दूरी 5 कि.मी. है। | पैदल जाओ।
पृ. 12 देखो। | यह छोटा है।
प्रो. गुप्ता आए। | वे जल्दी में हैं।
समय 10:30 है। | जल्दी करो।
दूध, अंडे आदि लाओ। | रोटी मत भूलना।
ठीक है। | देखते हैं।
यह 3.5 लाख है। | बहुत है।
पहला काम। | दूसरा काम। | तीसरा काम।
क्या बत्ती जलाऊँ? | हाँ।
नमस्ते! | क्या हाल है?
हाँ। | नहीं।
संस्करण 1.2.3 आ गया। | इसे लगाओ।
राम ने पूछा, "क्यों?" | सीता चुप रही।
www.example.com खोलो। | फिर आगे बढ़ो।
"""

ARABIC = """
الضوء مضاء. | النافذة مفتوحة.
الحرارة 21.5 درجة. | غدا ستكون 18.
كيف حالك؟ | أنا بخير!
حقا؟! | لم أكن أعرف.
د. أحمد هنا. | يبحث عن أ. سالم.
قال: "أنا قادم." | ثم ذهب.
انتظر! | اسمع.
السعر 4.50 دولار. | هذا رخيص.
انظر ص. 12 من الكتاب. | إنها قصيرة.
الساعة 10:30. | أسرع.
هل أشعل الضوء؟ | نعم.
مرحبا! | كيف الحال؟
نعم. | لا.
الإصدار 1.2.3 متوفر. | قم بتثبيته.
افتح www.example.com الآن. | ثم تابع.
تم ضبط المؤقت. | هل تريد شيئا آخر؟
أين أنت؟ | أنا في البيت.
«تعال!» | لم يأت أحد.
(كان الوقت متأخرا.) | ذهبنا إلى البيت.
لماذا؟ | لا أعرف.
ولد في 50 ق.م. في روما.
الغرفة باردة، والنافذة مفتوحة. | أغلقها.
"""

_JOINED = {"zh": "", "ja": ""}
_TEXTS = {
    "en": ENGLISH, "de": GERMAN, "fr": FRENCH, "es": SPANISH, "it": ITALIAN, "pt": PORTUGUESE,
    "nl": DUTCH, "pl": POLISH, "ru": RUSSIAN, "zh": CHINESE, "ja": JAPANESE, "hi": HINDI,
    "ar": ARABIC,
}  # fmt: skip

LINES = [
    ("en", ["Here is a list:\n", "- one apple\n", "- two pears\n", "- a plum"]),
    ("en", ["Steps:\n", "1. Open it\n", "2. Close it\n", "\n", "Done."]),
    ("en", ["# A title\n", "And the text. ", "More of it.\n"]),
    ("en", ["This line was broken\nby somebody. ", "This one not.\n"]),
    ("en", ["No full stop\n\n", "but an empty line."]),
    ("en", ["Roses are red,\n", "Violets are blue."]),
    ("en", ["First.\r\n", "Second.\r\n"]),
    ("en", ["Dr.\n", "Smith"]),
    ("en", ["\n\n", "Hello.\n"]),
    ("de", ["Die Liste:\n", "- Äpfel\n", "- Birnen\n"]),
    ("ru", ["Список:\n", "- яблоки\n", "- груши\n"]),
    ("zh", ["列表：\n", "- 苹果\n", "- 梨\n"]),
    ("hi", ["सूची:\n", "- सेब\n", "- नाशपाती\n"]),
]


def _cases() -> list[tuple[str, str, list[str]]]:
    cases = []
    for language, texts in _TEXTS.items():
        for line in texts.strip().splitlines():
            sentences = [sentence.strip() for sentence in line.split("|")]
            cases.append((language, _JOINED.get(language, " ").join(sentences), sentences))
    for language, pieces in LINES:
        said = [piece.strip() for piece in pieces if piece.strip()]
        cases.append((language, "".join(pieces), said))
    return cases


CASES = _cases()
"""(language, text, its sentences)"""
