"""What every loader is asked: plain requests, and texts on which tokenizers like to differ."""

PLAIN = (
    "where is my parcel?",
    "I want my money back",
    "please cancel my order number 4711",
    "WHY WAS MY CARD DECLINED TWICE",
    "can i change the delivery address",
    "reset my password, the link does not work",
    "let me talk to a human being",
    "When do you open on Sundays?",
    "please delete my account and all my data",
    "does this phone come with a charger?",
)
HOSTILE = (
    "",
    "   ",
    "\n\t\r\n",
    "?!?!",
    "x",
    "a nul \x00 in the middle",
    "controls \x07\x1b[31m and \x85",
    "\ufeffa byte order mark",
    "soft\u00adhyphen zero\u200bwidth no\u00a0break",
    "line\u2028separator",
    "[CLS] special [SEP] tokens [MASK] written [PAD] out [UNK]",
    "cafe\u0301 caf\u00e9 stra\u00dfe \ufb01nal \u0130stanbul",
    "\uff46\uff55\uff4c\uff4c \uff57\uff49\uff44\uff54\uff48 refund",
    "\u0645\u0631\u062d\u0628\u0627 \u05e9\u05dc\u05d5\u05dd",
    "\u8fd4\u91d1\u3057\u3066\u304f\u3060\u3055\u3044 \ud55c\uad6d\uc5b4 \u0e44\u0e17\u0e22",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea \U0001f44d\U0001f3fd late again",
    "<b>refund</b> &amp; 'quotes' \"double\" `ticks` \\ back",
    "'; DROP TABLE orders; --",
    "https://shop.example/track?id=1&x=%20#top me@shop.example",
    "3,141.59 EUR on 2024-02-30 at 25:61",
    "abc" * 70,
)
# Far beyond the length limit of the bundles: what is cut, and whether [SEP] stays, shows here.
LONG = (
    "my order has not arrived and " * 20,
    "refund " * 500,
    "\U0001f4e6 " * 60,
)
TEXTS = (*PLAIN, *HOSTILE, *LONG)
