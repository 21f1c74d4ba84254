"""The words of the world: what scenes show, by the emoji's code, and what people call it.

The set has many drawings that nobody would ask for ("nut and bolt", "moon viewing ceremony"), and
names that nobody says ("deciduous tree"). Scenes show what is listed here.
"""

THINGS = {
    # animals, whole and from the side where there is a choice
    **{"1F413": "rooster", "1F414": "chicken", "1F424": "chick", "1F426": "bird"},
    **{"1F427": "penguin", "1F54A": "dove", "1F985": "eagle", "1F986": "duck", "1F989": "owl"},
    **{"1F99A": "peacock", "1F99C": "parrot", "1F9A2": "swan", "1F9A9": "flamingo"},
    **{"1F40C": "snail", "1F41B": "caterpillar", "1F41C": "ant", "1F41D": "bee"},
    **{"1F41E": "ladybug", "1F577": "spider", "1F98B": "butterfly"},
    **{"1F401": "mouse", "1F404": "cow", "1F405": "tiger", "1F406": "leopard"},
    **{"1F407": "rabbit", "1F408": "cat", "1F40E": "horse", "1F411": "sheep", "1F410": "goat"},
    **{"1F412": "monkey", "1F415": "dog", "1F416": "pig", "1F418": "elephant"},
    **{"1F42A": "camel", "1F43F": "squirrel", "1F987": "bat", "1F98C": "deer"},
    **{"1F98D": "gorilla", "1F98F": "rhinoceros", "1F992": "giraffe", "1F993": "zebra"},
    **{"1F994": "hedgehog", "1F998": "kangaroo", "1F99B": "hippopotamus"},
    **{"1F438": "frog", "1F428": "koala", "1F43A": "wolf", "1F43B": "bear", "1F43C": "panda"},
    **{"1F981": "lion", "1F984": "unicorn", "1F98A": "fox"},
    **{"1F40B": "whale", "1F419": "octopus", "1F41F": "fish", "1F42C": "dolphin"},
    **{"1F980": "crab", "1F988": "shark", "1F41A": "shell", "1F409": "dragon"},
    **{"1F40A": "crocodile", "1F40D": "snake", "1F422": "turtle", "1F98E": "lizard"},
    **{"1F995": "long-necked dinosaur", "1F996": "dinosaur"},
    # food and drink
    **{"1F34E": "apple", "1F34A": "tangerine", "1F34B": "lemon", "1F34C": "banana"},
    **{"1F349": "watermelon", "1F347": "grapes", "1F353": "strawberry", "1F352": "cherries"},
    **{"1F350": "pear", "1F351": "peach", "1F34D": "pineapple", "1F345": "tomato"},
    **{"1F346": "eggplant", "1F955": "carrot", "1F336": "chili pepper", "1F966": "broccoli"},
    **{"1F951": "avocado", "1F344": "mushroom", "1F354": "hamburger", "1F355": "pizza"},
    **{"1F32D": "hot dog", "1F35F": "french fries", "1F950": "croissant", "1F35E": "bread"},
    **{"1F95A": "egg", "1F9C0": "cheese", "1F366": "ice cream cone", "1F369": "doughnut"},
    **{"1F36A": "cookie", "1F36B": "chocolate bar", "1F36C": "candy", "1F36D": "lollipop"},
    **{"1F382": "cake", "1F9C1": "cupcake", "1F377": "wine glass", "1F37A": "beer mug"},
    **{"2615": "coffee cup", "1FAD6": "teapot"},
    # plants and the sky
    **{"1F337": "tulip", "1F339": "rose", "1F33B": "sunflower", "1F490": "bouquet"},
    **{"1F332": "pine tree", "1F333": "tree", "1F334": "palm tree", "1F335": "cactus"},
    **{"1F340": "four-leaf clover", "1F341": "maple leaf", "1F384": "christmas tree"},
    **{"2600": "sun", "1F319": "moon", "2B50": "star", "2601": "cloud", "1F308": "rainbow"},
    **{"2602": "umbrella", "2744": "snowflake", "26C4": "snowman", "1F525": "fire"},
    **{"26A1": "lightning bolt", "1FA90": "planet", "1F4A7": "drop", "2764": "heart"},
    # what drives, flies and floats
    **{"1F697": "car", "1F68C": "bus", "1F695": "taxi", "1F693": "police car"},
    **{"1F691": "ambulance", "1F692": "fire truck", "1F69A": "truck", "1F69C": "tractor"},
    **{"1F3CE": "race car", "1F6B2": "bicycle", "1F3CD": "motorcycle", "1F6F5": "scooter"},
    **{"1F682": "train", "1F680": "rocket", "1F681": "helicopter", "2708": "airplane"},
    **{"1F6F8": "flying saucer", "26F5": "sailboat", "1F6A2": "ship", "1F6F6": "canoe"},
    **{"2693": "anchor", "1F6F9": "skateboard", "1F6A6": "traffic light"},
    # places
    **{"1F3E0": "house", "1F3F0": "castle", "26EA": "church", "1F3ED": "factory"},
    **{"26FA": "tent", "26F2": "fountain", "1F3A1": "ferris wheel", "1F30B": "volcano"},
    **{"26F0": "mountain", "1F3AA": "circus tent"},
    # clothes
    **{"1F3A9": "top hat", "1F451": "crown", "1F453": "glasses", "1F576": "sunglasses"},
    **{"1F457": "dress", "1F455": "t-shirt", "1F456": "jeans", "1F45F": "shoe"},
    **{"1F460": "high-heeled shoe", "1F462": "boot", "1F9E3": "scarf", "1F9E4": "gloves"},
    **{"1F9E6": "socks", "1F392": "backpack", "1F45C": "handbag", "1F48D": "ring"},
    **{"1F48E": "gem", "1F452": "sun hat", "1F9E2": "cap"},
    # toys, instruments and sport
    **{"1F388": "balloon", "1F381": "gift", "1F383": "pumpkin", "1F9F8": "teddy bear"},
    **{"1FA81": "kite", "1F52E": "crystal ball", "1F3B8": "guitar", "1F3BA": "trumpet"},
    **{"1F3BB": "violin", "1F941": "drum", "26BD": "soccer ball", "1F3C0": "basketball"},
    **{"26BE": "baseball", "1F3BE": "tennis ball", "1F3C6": "trophy", "1F6F7": "sled"},
    # things of the house
    **{"1F514": "bell", "1F4A1": "light bulb", "1F56F": "candle", "1F4F7": "camera"},
    **{"1F4FA": "television", "1F4BB": "laptop", "260E": "telephone", "23F0": "alarm clock"},
    **{"231A": "watch", "1F511": "key", "1F512": "padlock", "1F4D5": "book"},
    **{"1F4D6": "open book", "2709": "envelope", "270F": "pencil", "2702": "scissors"},
    **{"1F528": "hammer", "1F527": "wrench", "1FA93": "axe", "1F5E1": "dagger"},
    **{"1F6E1": "shield", "1F4A3": "bomb", "1F9F2": "magnet", "1FA91": "chair"},
    **{"1F6CF": "bed", "1F6AA": "door", "1F6C1": "bathtub", "1F9F9": "broom"},
    **{"1FAA3": "bucket", "1F52D": "telescope", "1F52C": "microscope", "1F4E6": "box"},
    **{"1F6D2": "shopping cart", "1F3A8": "artist palette", "1FA9C": "ladder", "2699": "gear"},
    # creatures
    **{"1F916": "robot", "1F47D": "alien", "1F47B": "ghost", "1F480": "skull"},
}
"""By code: what stands in scenes, alone or beside another."""

RIDERS = {
    **{"1F916": "robot", "1F47D": "alien", "1F47B": "ghost", "1F435": "monkey"},
    **{"1F43B": "bear", "1F427": "penguin", "1F431": "cat", "1F436": "dog"},
}
"""By code: creatures that ride."""

PEOPLE = {
    **{"astronaut": "astronaut", "cook": "chef", "firefighter": "firefighter"},
    **{"police officer": "police officer", "farmer": "farmer", "artist": "artist"},
    **{"pilot": "pilot", "health worker": "doctor", "teacher": "teacher"},
    **{"scientist": "scientist", "judge": "judge", "mechanic": "mechanic", "singer": "singer"},
    **{"construction worker": "builder", "detective": "detective", "ninja": "ninja"},
    **{"prince": "prince", "princess": "princess", "superhero": "superhero", "mage": "wizard"},
    **{"fairy": "fairy", "vampire": "vampire", "mermaid": "mermaid", "elf": "elf"},
    **{"zombie": "zombie", "santa claus": "santa claus", "man": "man", "woman": "woman"},
    **{"boy": "boy", "girl": "girl", "baby": "baby"},
    **{"old man": "old man", "old woman": "old woman"},
}
"""By name, which of a man or a woman it is left out: people, who ride, too."""

MOUNTS = {
    **{"1F40E": "horse", "1F418": "elephant", "1F42A": "camel", "1F42B": "camel"},
    **{"1F404": "cow", "1F416": "pig", "1F411": "sheep", "1F405": "tiger", "1F406": "leopard"},
    **{"1F415": "dog", "1F422": "turtle", "1F409": "dragon", "1F995": "long-necked dinosaur"},
    **{"1F996": "dinosaur", "1F40A": "crocodile", "1F98F": "rhinoceros", "1F992": "giraffe"},
    **{"1F410": "goat", "1F402": "ox", "1F403": "buffalo", "1F407": "rabbit"},
    **{"1F998": "kangaroo", "1F6B2": "bicycle", "1F3CD": "motorcycle", "1F6F5": "scooter"},
    **{"1F98C": "deer", "1F9A2": "swan", "1F986": "duck", "1F993": "zebra"},
}
"""By code: what is ridden."""

HATS = {
    **{"1F3A9": "top hat", "1F451": "crown", "1F9E2": "cap", "1F452": "sun hat"},
    **{"1F393": "graduation cap", "1FA96": "army helmet", "26D1": "rescue helmet"},
}
"""By code: what is worn."""

FACES = {
    **{"1F98A": "fox", "1F43B": "bear", "1F43C": "panda", "1F428": "koala", "1F981": "lion"},
    **{"1F438": "frog", "1F916": "robot", "1F47D": "alien", "1F383": "pumpkin"},
    **{"1F431": "cat", "1F436": "dog", "1F42D": "mouse", "1F42E": "cow", "1F42F": "tiger"},
    **{"1F430": "rabbit", "1F434": "horse", "1F435": "monkey", "1F437": "pig"},
}
"""By code: who wears a hat."""

ALL_NOUNS = frozenset(
    noun for table in (THINGS, RIDERS, PEOPLE, MOUNTS, HATS, FACES) for noun in table.values()
)
