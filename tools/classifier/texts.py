"""Texts by rule: templates with slots. A fifth of the templates is held out and never trained on."""

import random

SLOTS = {
    "chat_zh": ["微信", "薇信", "VX", "vx", "威信", "加v", "扣扣", "QQ", "qq群", "飞机", "电报", "企鹅"],
    "id": ["abc123", "88776655", "kf_2024", "a13800138000", "wx9527", "vip666888", "1234567890", "lucky_88", "tg5566", "mm520"],
    "gain_zh": ["红包", "现金", "皮肤", "会员", "话费", "福利", "代金券", "资料", "点券", "金币"],
    "job_zh": ["兼职", "刷单", "日结", "副业", "打字员", "点赞员", "代理", "推广员"],
    "sum": ["100", "300", "500", "800", "1000", "2000", "8888"],
    "sell_zh": ["粉丝", "人气", "账号", "外挂", "脚本", "低价会员", "代练", "点赞", "片源"],
    "host_zh": ["主播", "楼主", "up", "前面的", "楼上", "你", "这人", "队友", "弹幕里的", "那个谁"],
    "bad_zh": ["傻逼", "煞笔", "脑残", "废物", "智障", "白痴", "蠢货", "弱智", "狗东西", "贱人", "sb", "nmsl", "人渣", "畜生", "杂种", "傻x", "脑瘫", "垃圾东西"],
    "verb_zh": ["滚", "去死", "闭嘴吧", "死远点", "爬", "滚出直播间", "别丢人了"],
    "sex_zh": ["约炮", "裸聊", "黄片", "成人片", "色情", "一夜情", "援交", "做爱", "a片", "露点", "脱衣", "激情视频", "福利姬", "看光", "开房"],
    "body_zh": ["胸", "奶子", "屁股", "大腿", "裸体", "下面"],
    "game_zh": ["这局", "这把", "这波", "这首歌", "这个剧情", "这段", "今天", "刚才那下", "这个镜头", "结局"],
    "good_zh": ["太好看了", "绝了", "泪目", "笑死", "真不错", "厉害", "好听", "稳了", "神了", "可以的", "爱了", "前方高能", "名场面", "恭喜", "好紧张"],
    "thing_zh": ["微信", "红包", "会员", "主播", "垃圾", "免费", "性格", "胸口", "死神", "qq", "加油", "直播间", "群", "视频", "大片", "激情", "代理商"],
    "ask_zh": ["叫什么", "在哪看", "几点开", "怎么玩", "什么时候更新", "是谁唱的", "多少集", "能回放吗"],
    "gain_en": ["followers", "viewers", "v-bucks", "gift cards", "skins", "crypto", "robux", "likes", "nitro", "coins"],
    "act_en": ["check my profile", "click the link", "visit my channel", "dm me", "join my discord", "text me on telegram", "use my code", "sign up now"],
    "sum_en": ["$50", "$100", "$500", "$1000", "100 dollars", "5k"],
    "who_en": ["you", "this streamer", "the mods", "op", "this guy", "that player", "your team", "she", "he"],
    "bad_en": ["idiot", "moron", "retard", "loser", "dumbass", "scumbag", "asshole", "bitch", "piece of trash", "clown", "imbecile", "pathetic noob", "bastard", "pig"],
    "verb_en": ["kill yourself", "kys", "shut the fuck up", "go die", "fuck off", "get lost", "eat shit", "screw you"],
    "sex_en": ["nudes", "porn", "sex", "hookup", "blowjob", "sex tape", "nude pics", "onlyfans", "cam show", "horny girls", "milf", "xxx videos"],
    "body_en": ["tits", "boobs", "ass", "pussy", "cock"],
    "thing_en": ["the game", "this song", "that boss", "the ending", "this map", "the plot", "that goal", "the update", "this stream", "the cat", "free weekend", "the discord", "the link", "the class", "Sussex", "cocktails", "the assassin", "analysis", "a dumb joke", "my profile picture"],
    "good_en": ["is amazing", "made me laugh", "was so close", "looks great", "sounds good", "is hard", "gave me chills", "is underrated", "was unexpected", "is my favourite", "broke again", "is stupid hard", "killed me", "was sick"],
    "ask_en": ["what time is it there", "how long is this", "who sings this", "is there a replay", "when is the next one", "what keyboard is that", "can I watch it for free", "how do I join"],
    "lol": ["哈哈哈", "666", "hhh", "233333", "啊啊啊啊", "www", "！！！", "？？？", "草", "lol", "lmao", "GG", "nice", "wow", "pog", "F", "first"],
    "pre_zh": ["", "", "", "大家", "家人们", "兄弟们", "求问", "我觉得", "真的", "话说"],
    "pre_en": ["", "", "", "guys ", "honestly ", "wait ", "ok ", "bro ", "hey "],
    "end": ["", "", "", "!", "！", "~", "...", "。", "？"],
}

TEMPLATES = {
    ("zh", "spam"): [
        "加{chat_zh}{id}领{gain_zh}", "{chat_zh}：{id} 免费领取{gain_zh}", "免费送{gain_zh} 加{chat_zh} {id}", "招{job_zh} 一天{sum} {chat_zh}{id}",
        "{job_zh}日赚{sum}元，想做的加{chat_zh}{id}", "在家就能做的{job_zh} 月入{sum} 私聊我", "低价出{sell_zh} 联系{chat_zh}{id}", "需要{sell_zh}的找我 {chat_zh} {id}",
        "看我头像 {gain_zh}免费领", "点我主页领{gain_zh}", "进群领{gain_zh} 群号{id}", "{sell_zh}批发 量大从优 {id}", "想要{gain_zh}的扣1 加{chat_zh}{id}", "复制口令{id}打开领{gain_zh}",
        "诚招{job_zh}，日结{sum}，{chat_zh}{id}", "专业{sell_zh} 价格便宜 {chat_zh}{id}", "扫码领{gain_zh}，先到先得", "关注我的主页 每天送{gain_zh}", "信誉{sell_zh} 私信我 {id}", "投资{sum}回报{sum} 稳赚不赔 {chat_zh}{id}",
    ],
    ("zh", "insult"): [
        "{host_zh}{bad_zh}", "{host_zh}就是个{bad_zh}", "{bad_zh}{host_zh}", "{host_zh}是{bad_zh}吧", "{verb_zh}{bad_zh}", "{bad_zh}{verb_zh}", "{host_zh}{verb_zh}", "真是{bad_zh}一个",
        "你个{bad_zh}", "{host_zh}怎么这么{bad_zh}", "全家{bad_zh}", "你妈死了{bad_zh}", "{bad_zh}玩意{verb_zh}", "{host_zh}你个{bad_zh}{verb_zh}", "没见过这么{bad_zh}的", "一群{bad_zh}", "{bad_zh}别播了", "骂的就是你 {bad_zh}",
    ],
    ("zh", "sexual"): [
        "想看{body_zh}", "主播{body_zh}好大", "有没有{sex_zh}的", "{sex_zh}加{chat_zh}{id}", "来{sex_zh}", "同城{sex_zh}", "给我看看{body_zh}", "求{sex_zh}资源", "{sex_zh}视频 懂的来", "晚上{sex_zh}吗", "主播{sex_zh}一个",
        "好想摸{body_zh}", "{body_zh}露出来了", "寂寞少妇{sex_zh}", "脱了让我看看{body_zh}", "免费看{sex_zh}", "美女{sex_zh} {id}",
    ],
    ("zh", ""): [
        "{pre_zh}{game_zh}{good_zh}{end}", "{game_zh}{ask_zh}{end}", "{pre_zh}{thing_zh}{ask_zh}{end}", "{lol}{end}", "{lol}{game_zh}{good_zh}", "{pre_zh}{good_zh}{end}", "{game_zh}的{thing_zh}{good_zh}", "{thing_zh}{good_zh}{end}",
        "来了来了{end}", "主播晚上好{end}", "{pre_zh}{game_zh}能赢吗{end}", "{thing_zh}是什么梗{end}", "我也有{thing_zh}", "从{thing_zh}过来的", "{game_zh}打得真垃圾啊{end}", "我真是个菜鸟{lol}", "谢谢主播的{thing_zh}", "{sum}人在看{end}",
        "妈妈我上电视了{lol}", "死了死了{lol}{end}", "{game_zh}{lol}", "下次一定{end}", "打卡第{sum}天", "想哭{end}", "{game_zh}要{sum}块吗", "考试加油{end}", "不是{thing_zh}的问题", "心疼主播{end}", "{good_zh}{lol}", "昨天的{thing_zh}没看到",
    ],
    ("en", "spam"): [
        "get free {gain_en} {act_en}", "{act_en} for free {gain_en}", "buy cheap {gain_en} at best price", "earn {sum_en} a day from home {act_en}", "make {sum_en} per week {act_en} {id}", "I sell {gain_en} {act_en}", "cheap {gain_en} and {gain_en} {act_en}",
        "free {gain_en} giveaway {act_en} now", "sub for sub {act_en}", "follow me and I follow back {act_en}", "want {gain_en}? {act_en}", "{act_en} to win {sum_en}", "promo code {id} for {gain_en}", "invest {sum_en} get {sum_en} back {act_en}",
        "best {gain_en} shop, {act_en}", "grow your channel with real {gain_en} {act_en}", "limited offer {gain_en} only today {act_en}", "work from home {sum_en} daily {id}",
    ],
    ("en", "insult"): [
        "{who_en} is a {bad_en}", "{who_en} are such a {bad_en}", "what a {bad_en}", "you {bad_en}", "{verb_en} {bad_en}", "{verb_en} you {bad_en}", "stupid {bad_en}", "fucking {bad_en}", "{who_en} {bad_en} {verb_en}", "{verb_en}", "nobody likes you {bad_en}",
        "delete your account {bad_en}", "{who_en} should {verb_en}", "you are a fucking {bad_en}", "ugly {bad_en}", "bunch of {bad_en}s", "imagine being this {bad_en}", "hope {who_en} die {bad_en}",
    ],
    ("en", "sexual"): [
        "show your {body_en}", "send {sex_en}", "want to see {sex_en}", "nice {body_en} babe", "free {sex_en} here", "let me see those {body_en}", "{sex_en} {act_en}", "anyone for {sex_en} tonight", "hot {sex_en} {act_en}", "show us the {body_en}", "wanna {sex_en}?",
        "I want your {body_en}", "take it off and show {body_en}", "selling {sex_en}", "{sex_en} link please",
    ],
    ("en", ""): [
        "{pre_en}{thing_en} {good_en}{end}", "{ask_en}{end}", "{pre_en}{ask_en}", "{lol} {thing_en} {good_en}", "{lol}{end}", "I love {thing_en}{end}", "{thing_en}{end}", "so glad {thing_en} {good_en}", "not sure about {thing_en}", "same here {lol}",
        "hello from {thing_en}", "good morning everyone{end}", "{pre_en}that {good_en}{end}", "I am so bad at {thing_en} {lol}", "this {good_en} {lol}", "thanks for {thing_en}{end}", "did you see {thing_en}{end}", "my cat is watching {lol}", "{sum_en} for {thing_en}?",
        "I died {lol}", "no way{end}", "he missed it{end}", "what happened to {thing_en}{end}", "I am an idiot, forgot {thing_en}", "see you tomorrow{end}", "the sexiest beat ever", "damn that {good_en}", "let's go{end}", "classic {thing_en}", "you are the best{end}",
    ],
}


def split(templates, held_out):
    """Every fifth template is held out."""
    return [template for n, template in enumerate(templates) if (n % 5 == 4) == held_out]


def fill(template, chance):
    while "{" in template:
        slot = template[template.index("{") + 1 : template.index("}")]
        template = template.replace("{" + slot + "}", chance.choice(SLOTS[slot]), 1)
    return template


def disguise(text, chance):
    """What people do to get past filters, now and then."""
    if chance.random() < 0.08 and len(text) > 2:
        at = chance.randrange(1, len(text))
        text = text[:at] + chance.choice([" ", ".", "*", "-"]) + text[at:]
    if chance.random() < 0.08:
        text = text.upper()
    return text


def make(most, held_out=False, seed=1):
    chance = random.Random(seed + 100 * held_out)
    rows = []
    for (language, label), templates in TEMPLATES.items():
        count = most if not label else most // 3
        chosen = split(templates, held_out)
        for _ in range(count):
            text = disguise(fill(chance.choice(chosen), chance), chance)
            labels = {label} if label else set()
            if label == "sexual" and ("id}" in text or "加" in text and any(c.isdigit() for c in text)):
                labels.add("spam")
            rows.append((text, labels, language))
    return rows
