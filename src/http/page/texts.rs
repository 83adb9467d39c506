//! Every text of the page, in Chinese and in English: the one catalogue.
//!
//! Invariant: a text that lacks a language does not compile.

/// A language of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lang {
    /// Simplified Chinese.
    Zh,
    /// English.
    En,
}

impl Lang {
    /// Both.
    pub(super) const ALL: [Self; 2] = [Self::Zh, Self::En];

    /// The language's tag (BCP 47).
    pub(super) const fn tag(self) -> &'static str {
        match self {
            Self::Zh => "zh-CN",
            Self::En => "en",
        }
    }

    /// What the language calls itself.
    pub(super) const fn own_name(self) -> &'static str {
        match self {
            Self::Zh => "中文",
            Self::En => "English",
        }
    }

    /// The language of a tag such as `zh`, `zh-CN` or `en-GB`.
    pub(super) fn of_tag(tag: &str) -> Option<Self> {
        let primary = tag.trim().split(['-', '_']).next().unwrap_or("");
        Self::ALL
            .into_iter()
            .find(|lang| lang.tag().split('-').next().unwrap_or("").eq_ignore_ascii_case(primary))
    }

    /// The first language of an `Accept-Language` that the page speaks; English if there is none.
    pub(super) fn accepted(header: &str) -> Self {
        let ranges = header.split(',').map(|range| {
            let (tag, parameters) = range.split_once(';').unwrap_or((range, ""));
            let quality = parameters.trim().strip_prefix("q=").map_or("1", str::trim);
            (Self::of_tag(tag), quality.parse::<f32>().unwrap_or(0.0))
        });
        let best = ranges.filter_map(|(lang, quality)| Some((lang?, quality))).fold(
            None,
            |best: Option<(Self, f32)>, next| match best {
                Some(best) if best.1 >= next.1 => Some(best),
                Some(_) | None => Some(next),
            },
        );
        best.map_or(Self::En, |(lang, _)| lang)
    }
}

macro_rules! texts {
    ($($name:ident: $zh:literal, $en:literal;)+) => {
        /// A text of the page.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Text {
            $($name),+
        }

        impl Text {
            /// Every text.
            #[cfg(test)]
            pub(super) const ALL: &[Self] = &[$(Self::$name),+];

            /// The text in this language.
            pub(super) const fn in_lang(self, lang: Lang) -> &'static str {
                match (self, lang) {
                    $((Self::$name, Lang::Zh) => $zh, (Self::$name, Lang::En) => $en,)+
                }
            }
        }
    };
}

texts! {
    // Around every page.
    SkipToContent: "跳到正文", "Skip to the content";
    Navigation: "页面", "Pages";
    Front: "总览", "Overview";
    Licenses: "授权码", "Codes";
    Callbacks: "回调", "Callbacks";
    Jobs: "任务与心跳", "Jobs and heartbeats";
    DriftTitle: "与云商店核对", "Compare with KooGallery";
    Settings: "设置", "Settings";
    SignIn: "登录", "Sign in";
    SignOut: "退出登录", "Sign out";
    Language: "语言", "Language";
    TimesAreIn: "所有时间的时区：", "All times are in";
    Now: "现在", "Now";
    Yes: "是", "yes";
    No: "否", "no";
    Nothing: "—", "–";
    Colon: "：", ": ";
    More: "下一页", "Next page";
    ToTheStart: "回到第一页", "Back to the first page";
    Days: "天", "d";
    Hours: "小时", "h";
    Minutes: "分钟", "min";
    Milliseconds: "毫秒", "ms";
    Scrollable: "表格，可横向滚动", "Table, can be scrolled sideways";

    // Signing in.
    TokenLabel: "管理令牌", "Admin token";
    TokenHint: "令牌在配置项 admin.token-file 所指的文件中。", "The token is in the file that admin.token-file of the configuration names.";
    WrongToken: "令牌不对。请从文件中完整复制，不要带空格或换行。", "That is not the token. Copy it whole from its file, without blanks or line ends.";
    TooManyTries: "登录尝试过于频繁。请在一分钟后再试。", "Too many tries to sign in. Try again in a minute.";
    SessionEnded: "尚未登录，或登录已过期（闲置 30 分钟，最长 12 小时）。请登录。", "You are not signed in, or your session has ended (30 minutes without use, 12 hours at most). Sign in.";

    // What went wrong.
    TroubleTitle: "出错了", "Something went wrong";
    NotFound: "这里没有所要的内容。可能是输入有误，或记录已超过保留期。", "There is nothing here. It was mistyped, or its record is older than what is kept.";
    BadRequest: "请求有误，什么都没有改变。", "The request is wrong; nothing was changed.";
    WrongMethod: "此页面不接受这种请求方式。", "This page does not take that method.";
    StoreAway: "数据库暂时无法处理，日志里有原因。什么都没有改变，请稍后再试。", "The database could not do it now; the log says why. Nothing was changed: try again later.";
    ForeignOrigin: "请求不是从本页面发出的，已拒绝，什么都没有改变。", "The request did not come from this page. It was refused; nothing was changed.";
    StaleForm: "表单已失效：登录已更换或已过期。什么都没有改变。请返回、刷新页面后再试。", "The form is no longer valid, because the session is another one now. Nothing was changed: go back, reload and try again.";

    // Front.
    NeedsYou: "现在需要您处理", "What needs you now";
    AllWell: "没有需要处理的事情。", "Nothing needs you.";
    Since: "开始于", "since";
    WhatToDo: "怎么办", "What to do";
    SeverityWarning: "注意", "Warning";
    SeverityHigh: "紧急", "Urgent";
    SeverityEmergency: "危急", "Emergency";
    DialTests: "拨测与失败的调用", "Dial tests and failed calls";
    FailingDays: "连续未通过的天数（五天冻结交易）", "Failing days in a row (five freeze trading)";
    LastDialTest: "最近一次拨测", "Last dial test";
    FailedOrders: "本月失败的订单", "Failed orders this month";
    OrdersAtRisk: "仍在重试、可能失败的订单", "Orders whose calls still fail and are repeated";
    OrdersAllowed: "允许", "allowed";
    RestartList: "需在 卖家中心 > 生产接口消息 中重新启动的调用", "Calls to restart in the seller's console (production messages)";
    NothingToRestart: "没有需要重新启动的调用。", "Nothing is to be restarted.";
    GivenUp: "放弃时间", "Given up";
    WaitingForBuyer: "等待买家领取", "Waiting for the buyer";
    WaitingHint: "云商店回答 92020004：买家尚未在买家中心确认领取。领取后会自动激活，不会报警。", "KooGallery answers 92020004: the buyer has not confirmed the receipt. The activation follows by itself.";
    NobodyWaits: "没有授权码在等待买家。", "No code waits for its buyer.";
    WaitsFor: "已等待", "Waiting for";
    NextTry: "下次尝试", "Next try";
    AndMore: "此外还有", "and besides";
    HeartbeatStrip: "最近 14 天的可用性心跳", "Availability heartbeats of the last 14 days";
    HeartbeatHint: "每格为北京时间的半天，以其中最后一次心跳为准。拨测失败前先在这里看到问题。", "Each cell is half a day in Beijing and shows its last heartbeat. What fails here will fail the marketplace's dial test.";
    Morning: "上午", "Morning";
    Afternoon: "下午", "Afternoon";
    NoHeartbeat: "无心跳", "none";
    NextHeartbeat: "下次心跳", "Next heartbeat";
    LastHeartbeat: "上次心跳", "Last heartbeat";
    LicensesByState: "各状态的授权码", "Codes by state";
    LastCallbacks: "最近的回调", "Last callbacks";
    AllCallbacks: "全部回调", "All callbacks";
    NoCallbacks: "还没有收到回调。", "No callback has come yet.";
    State: "状态", "State";
    Count: "数量", "Codes";
    Share: "占比", "Share";
    FindCode: "查找授权码", "Find a code";

    // The list of codes.
    Code: "授权码", "Code";
    CodeOrderOrNoteContains: "授权码、订单或备注中包含", "Code, order or note contains";
    AnyState: "全部状态", "any state";
    SortBy: "排序", "Order";
    SortCode: "按授权码", "by code";
    SortExpiry: "先到期的在前", "first to end first";
    SortNewest: "新登记的在前", "newest first";
    PerPage: "每页", "Per page";
    Show: "显示", "Show";
    ExportCsv: "导出 CSV", "Export CSV";
    NoCodesFound: "没有符合条件的授权码。", "No code is like that.";
    Expires: "到期", "Ends";
    Note: "备注", "Note";
    LastError: "最近的错误码", "Last error";
    MarketplaceSays: "云商店状态", "KooGallery says";
    Registered: "登记时间", "Registered";

    // One code.
    Facts: "事实", "Facts";
    EndAsWritten: "云商店给出的到期文本", "The end as KooGallery wrote it";
    EndConfirmed: "到期已确认", "End confirmed";
    MarketplaceAsked: "上次询问云商店", "KooGallery last asked";
    AskFailed: "上次询问失败", "Last question failed";
    FrozenSince: "冻结自", "Frozen since";
    FrozenFrom: "冻结前的状态", "State before the freeze";
    RenewalsInForce: "生效的续费次数", "Renewals in force";
    ActivatedAt: "激活时间", "Activated";
    NextActivation: "下次激活尝试", "Next activation";
    Order: "订单", "Order";
    Product: "商品", "Product";
    BuyerIsTold: "给买家的说明", "What the buyer is told";
    EntitlementNow: "软件现在会得到的答复", "What the software would be told now";
    EntitlementHint: "根据已知信息得出，没有为此询问云商店。", "Decided from what is known; KooGallery was not asked for this.";
    WouldAsk: "软件真正询问时会先问一次云商店（最多等 0.8 秒），答复可能因此不同。", "When the software asks, KooGallery is asked first (0.8 s at most), which may change the answer.";
    Decision: "结论", "Decision";
    Reason: "原因", "Reason";
    DaysLeft: "剩余天数", "Days left";
    Timeline: "时间线", "Timeline";
    TimelineHint: "新的在前：回调及其结论、询问、激活、操作和矛盾。", "The newest first: callbacks with their verdicts, questions, activations, operators and contradictions.";
    At: "时间", "At";
    What: "事件", "What";
    From: "来源", "From";
    Change: "变化", "Change";
    Answered: "应答码", "Answer";
    Details: "细节", "Details";
    Callback: "回调", "Callback";
    Actions: "操作", "Actions";

    // Actions on a code.
    ActActivate: "现在激活", "Activate now";
    ActQuery: "现在询问云商店", "Ask KooGallery now";
    ActReceived: "登记买家已领取", "Note that the buyer has received it";
    ActRelease: "永久释放", "Release for ever";
    ActivateMeans: "现在请求云商店激活该授权码。买家尚未领取时不会有变化，也不影响之后的自动重试。", "KooGallery is asked to activate the code now. While the buyer has not received it nothing changes, and the tries that follow by themselves are not moved.";
    QueryMeans: "现在询问云商店该授权码的状态，并按答复更新。", "KooGallery is asked how the code stands, and what it answers has its effect.";
    ReceivedMeans: "记录买家已经领取。只有确认买家领取后才这样做。", "It is noted that the buyer has received the code. Do this only when you know it.";
    ReleaseMeans: "该授权码将永久结束，软件随即被拒绝，任何事件都不能使它恢复。云商店一侧不会因此改变。", "The code ends for ever and the software is denied at once; nothing revives it here. At KooGallery nothing is changed by this.";
    ConfirmTitle: "请确认", "Please confirm";
    Confirm: "确认执行", "Do it";
    Cancel: "取消", "Cancel";
    ReasonLabel: "原因（写入该授权码的历史）", "Reason (kept in the code's history)";
    ReasonNeeded: "必须填写原因。", "A reason must be given.";
    ToldDone: "已完成。", "Done.";
    ToldAsked: "已询问云商店，状态已按答复更新。", "KooGallery was asked, and its answer has had its effect.";
    ToldWaiting: "买家尚未领取，领取后会自动激活。", "The buyer has not received the code yet; the activation follows by itself.";
    ToldRetryLater: "云商店暂时没有可用的答复，后台会继续尝试。", "KooGallery gave no usable answer; it is tried again in the background.";
    ToldRefused: "云商店拒绝，或没有可做的事。时间线里有原因。", "KooGallery refused, or there is nothing to be done. The timeline says why.";
    ToldReleased: "该授权码已释放，不能再改变。", "The code is released; nothing changes it any more.";
    ToldStarted: "任务已开始，结束后可在此页看到结果。", "The job has been started; its end is seen on this page.";
    ToldKept: "显示设置已保存。", "Your display settings are kept.";

    // Callbacks.
    Verdict: "结论", "Verdict";
    AnyVerdict: "全部结论", "any verdict";
    Activity: "类型", "Activity";
    ReceivedAt: "收到时间", "Received";
    SignedAt: "签名时间", "Signed";
    NotVerified: "签名未通过验证", "nothing was verified";
    Took: "处理用时", "Took";
    TestTraffic: "调测流量", "Test traffic";
    WhatCame: "收到的内容", "What came";
    WhatWasDecided: "如何判定", "What was decided";
    WhatWasAnswered: "如何应答", "What was answered";
    HeadAsReceived: "请求头原文（签名等只保留其 SHA-256）", "The head as received (of signatures, only the SHA-256)";
    BodyAsReceived: "请求体原文", "The body as received";
    OwnHeartbeat: "这是我们自己的可用性心跳：它本应被拒绝。", "This is our own availability heartbeat: it must be refused.";
    ReplyAsSent: "应答原文", "The reply as sent";
    ClockAhead: "本机时钟快于云商店", "Our clock ahead of KooGallery's";
    NotKnown: "未知", "not known";
    RequestId: "请求编号（与日志一致）", "Request id, as in the log";
    EvidenceHint: "需要证据时，在服务器上运行：", "For evidence of this code, run on the server:";
    DoctorSays: "签名诊断", "What the signature shows";
    Number: "编号", "No.";
    NoCallbacksFound: "没有符合条件的回调。", "No callback is like that.";

    // Jobs.
    JobsTitle: "任务", "Jobs";
    Job: "任务", "Job";
    Schedule: "计划", "Plan";
    LastRun: "上次运行", "Last run";
    Outcome: "结果", "Outcome";
    NextRun: "下次运行", "Next run";
    RunNow: "现在运行", "Run now";
    Heartbeats: "心跳", "Heartbeats";
    HeartbeatSteps: "步骤", "Steps";
    CertificateDays: "证书剩余天数", "Days until the certificate ends";
    HttpStatus: "HTTP 状态", "HTTP status";
    Every: "每", "every";
    Hourly: "每小时", "hourly at";
    NeverRan: "尚未运行", "not yet";
    NothingToDo: "无事可做", "nothing to do";
    CountAlarms: "清除的告警", "alarms removed";
    CountAsked: "已询问", "asked";
    CountBackup: "备份文件", "backup";
    CountBackupBytes: "备份字节数", "bytes of it";
    CountBackupsRemoved: "删除的旧备份", "old backups removed";
    CountCallbacks: "清除的回调", "callbacks removed";
    CountCalls: "调用", "calls";
    CountFailed: "失败", "failed";
    CountFailedCalls: "清除的失败调用", "failed calls removed";
    CountGaps: "清除的漏收时段", "gaps removed";
    CountGivenUp: "被放弃的调用", "calls given up";
    CountJobs: "清除的任务记录", "runs removed";
    CountLeft: "留待下次", "left for later";
    CountNonces: "遗忘的 nonce", "nonces forgotten";
    CountOrders: "到达的订单", "orders arrived";
    CountProbe: "心跳编号", "heartbeat number";
    CountProbes: "清除的心跳", "heartbeats removed";
    CountRepaired: "已修复", "repaired";
    CountSeen: "已查看", "looked at";
    CountSent: "已发送", "sent";
    CountUsage: "清除的用量", "usage removed";
    CountWaiting: "等待中", "waiting";
    Slot: "时段", "Slot";

    // Drift.
    DriftHint: "逐个询问云商店并与本地比较。核对本身不改变任何东西；修复按云商店的答复更新该授权码。", "Each code is asked about at KooGallery and compared. Looking changes nothing; a repair lets the answer have its effect.";
    DriftPace: "每个授权码是一次限速的调用，请选较小的数量。", "Each code is a paced call: choose a small number.";
    LookNow: "现在核对", "Compare now";
    AfterCode: "从此授权码之后开始", "After this code";
    LookOn: "核对后面的授权码", "Compare the codes after these";
    NoDrift: "这些授权码与云商店一致。", "These codes agree with KooGallery.";
    Differences: "不一致之处", "What differs";
    Unasked: "没有得到可用答复的授权码", "Codes without a usable answer";
    Here: "本地", "Here";
    AtMarketplace: "云商店", "At KooGallery";
    RepairWould: "修复会产生", "A repair would bring";
    NoRepair: "无法自动修复，需要人工判断", "nothing: a human must decide";
    Why: "原因", "Why";
    Repair: "修复", "Repair";
    RepairAll: "修复以上全部", "Repair all of these";
    Repaired: "修复结果", "What came of the repair";

    // Settings.
    Display: "显示", "Display";
    ZoneLabel: "时区（IANA 名称）", "Time zone (an IANA name)";
    Keep: "保存", "Keep";
    BadZone: "没有这个时区。请使用如 Asia/Shanghai 的 IANA 名称。", "There is no such zone. Give an IANA name such as Asia/Shanghai.";
    InForce: "生效的配置", "The configuration in force";
    InForceHint: "启动时读入；修改文件后需重新加载（SIGHUP）或重启。密钥只显示其所在位置，从不显示内容。", "Read at the start; a change of the file takes a reload (SIGHUP) or a restart. Of secrets, only the place is shown.";
    Key: "键", "Key";
    Value: "值", "Value";
    Version: "版本", "Version";
    StartedAt: "启动时间", "Started";

    // States.
    StateIssued: "已发放", "issued";
    StateReceived: "已领取", "received";
    StateActivated: "已激活", "activated";
    StateRenewed: "已续费", "renewed";
    StateFrozen: "已冻结", "frozen";
    StateReleased: "已释放", "released";

    // What the marketplace says.
    StatusAlive: "有效", "alive";
    StatusExpired: "已过期", "expired";
    StatusReleased: "已释放", "released";
    StatusUnknown: "未知", "unknown";
    StatusNotActivated: "未激活", "not activated";
    StatusUnknownCode: "无此授权码", "unknown code";

    // Decisions and their reasons.
    Allow: "允许", "allow";
    Deny: "拒绝", "deny";
    ReasonActive: "在有效期内", "in force";
    ReasonExpiring: "即将到期（七天内）", "in force, and ends within a week";
    ReasonGraceUnconfirmed: "已过到期时间，云商店尚未确认，宽限中", "past its end, which KooGallery has not confirmed: grace";
    ReasonGraceOffline: "已过到期时间，云商店无法访问，宽限中", "past its end, and KooGallery cannot be reached: grace";
    ReasonNotActivated: "从未激活", "never activated";
    ReasonExpired: "已到期，并经云商店确认", "ended, and KooGallery confirmed it";
    ReasonExpiredUnconfirmed: "已过到期时间，宽限期已用完", "past its end, and the grace is used up";
    ReasonFrozen: "冻结中", "frozen";
    ReasonReleased: "已释放", "released";
    ReasonUnknownCode: "没有这个授权码", "no such code";

    // Kinds of events.
    KindRegistered: "登记", "registered";
    KindReceived: "领取", "received";
    KindActivated: "激活", "activated";
    KindActivationWaiting: "等待领取", "activation waits";
    KindActivationFailed: "激活失败", "activation failed";
    KindRenewed: "续费", "renewed";
    KindUnrenewed: "退续费", "renewal returned";
    KindFrozen: "冻结", "frozen";
    KindThawed: "解冻", "thawed";
    KindReleased: "释放", "released";
    KindExpired: "到期", "expired";
    KindObserved: "查得", "observed";
    KindRepaired: "修复", "repaired";
    KindStale: "过时", "stale";
    KindOrphan: "无主", "orphan";
    KindAdopted: "收编", "adopted";
    KindContradiction: "矛盾", "contradiction";
    KindProbe: "心跳", "heartbeat";
    KindJob: "任务", "job";
    KindAlarm: "告警", "alarm";
    KindOperator: "人工操作", "operator";

    // What each kind means.
    RegisteredMeans: "授权码已登记。", "The code was registered.";
    ReceivedEventMeans: "买家已领取该授权码。", "The buyer has received the code.";
    ActivatedMeans: "云商店已确认激活。", "KooGallery confirmed the activation.";
    ActivationWaitingMeans: "买家尚未领取，激活在等待。", "The buyer has not received the code: its activation waits.";
    ActivationFailedMeans: "云商店拒绝激活，不再自动重试。", "KooGallery refused the activation; it is not tried again by itself.";
    RenewedMeans: "续费已生效。", "A renewal is in force.";
    UnrenewedMeans: "续费已退订。", "A renewal was returned.";
    FrozenMeans: "云商店冻结了该授权码，软件随即被拒绝。", "KooGallery froze the code; the software is denied from now on.";
    ThawedMeans: "冻结已解除。", "The freeze has ended.";
    ReleasedMeans: "该授权码已永久结束。", "The code has ended for ever.";
    ExpiredMeans: "云商店确认该授权码已到期。", "KooGallery confirmed that the code has ended.";
    ObservedMeans: "从云商店得知。", "Learnt from KooGallery.";
    RepairedMeans: "已按云商店的答复更正本地记录。", "What is stored here was corrected by KooGallery's answer.";
    StaleEventMeans: "比已处理的更早，未生效。", "Older than what was applied before: without effect.";
    OrphanEventMeans: "回调中的授权码本地没有。", "A callback named a code that is not known here.";
    AdoptedMeans: "本地此前没有该授权码，已按云商店的答复收编。", "The code was not known here; it was taken in as KooGallery told of it.";
    ContradictionMeans: "所到的内容与状态不符，什么都没有改变。", "What came does not fit the state: nothing was changed.";
    ProbeMeans: "进行了可用性心跳。", "An availability heartbeat was run.";
    JobMeans: "后台任务失败。", "A background job failed.";
    AlarmMeans: "告警有变化。", "An alarm has changed.";
    OperatorMeans: "操作员下达了命令。", "An operator gave an order.";

    // The marketplace's codes.
    Code92020001: "云商店系统异常，会自动重试", "KooGallery's own fault: it is tried again";
    Code92020002: "云商店认为请求参数有误", "KooGallery calls our request wrong";
    Code92020003: "授权码当前状态不允许", "the code's state does not allow it";
    Code92020004: "买家尚未领取", "the buyer has not received the code";
    Code92020005: "云商店没有该授权码", "KooGallery does not know the code";
    Code92020011: "尚未激活", "not activated";
    Code92020020: "批次中有不合法的授权码", "a code of the batch is invalid";

    // Sources of events.
    SourceCallback: "回调", "callback";
    SourceActivation: "激活", "activation";
    SourceQuery: "查询", "query";
    SourceOperator: "操作员", "operator";
    SourceSoftware: "软件", "software";
    SourceTimer: "定时", "timer";

    // Verdicts of callbacks, with what each means.
    VerdictApplied: "已生效", "applied";
    VerdictRepeated: "重复", "repeated";
    VerdictStale: "过时", "stale";
    VerdictOrphan: "无主", "orphan";
    VerdictTest: "调测", "test";
    VerdictRefused: "已拒绝", "refused";
    AppliedMeans: "签名有效，已按规则处理（也可能本来就无需改变）。", "Authentic; it had its effect, which may have been none.";
    RepeatedMeans: "与之前的回调相同，按原应答再次应答，没有第二次生效。", "It had come before; the stored answer was given again, without a second effect.";
    StaleMeans: "比已处理的同类回调更早签名，因此不生效。", "Signed earlier than one that was applied before; it had no effect.";
    OrphanMeans: "本地不认识该授权码，当时又无法询问云商店；已保存，稍后处理。", "Its code is not known here and KooGallery could not be asked in time; it is kept and settled later.";
    TestMeans: "调测流量：检查并应答，不读写任何授权码。", "Test traffic: checked and answered; no code was read or written.";
    RefusedMeans: "未通过验证、格式有误、未知或不可能；什么都没有改变。", "Not authentic, malformed, unknown or impossible; nothing was changed.";

    // What was answered to a callback.
    Answer000000: "成功", "done";
    Answer000001: "鉴权失败", "not authentic";
    Answer000002: "请求参数不合法", "malformed";
    Answer000003: "授权码不存在", "unknown code";
    Answer000005: "暂时无法保存，云商店会重发", "could not be stored; the marketplace comes again";

    // Activities of callbacks.
    ActivityRefresh: "续费或退续费", "renewal or its return";
    ActivityStatus: "冻结或解冻", "freeze or unfreeze";
    ActivityRelease: "释放", "release";
    ActivityUnreadable: "无法读出", "unreadable";

    // Jobs and outcomes.
    JobHeartbeat: "可用性心跳", "availability heartbeat";
    JobActivation: "待办调用", "calls that are owed";
    JobReconcile: "与云商店核对", "comparison with KooGallery";
    JobUsage: "用量上报", "usage reports";
    JobUpkeep: "夜间维护", "nightly upkeep";
    OutcomeOk: "正常", "ok";
    OutcomeSlow: "偏慢", "slow";
    OutcomeFailed: "失败", "failed";
    OutcomeSkipped: "未进行", "skipped";
    OutcomeInterrupted: "中断", "interrupted";
    OutcomeRunning: "运行中", "running";

    // Steps of a heartbeat.
    StepDns: "域名解析", "name is resolved";
    StepTcp: "建立连接", "connection is taken";
    StepTls: "TLS 证书链", "certificate chain";
    StepRenewal: "续费", "renewal";
    StepUnrenewal: "退续费", "return of a renewal";
    StepFreeze: "冻结", "freeze";
    StepUnfreeze: "解冻", "unfreeze";
    StepRelease: "释放", "release";
    StepWrongSignature: "错误签名应被拒绝", "a wrong signature is refused";
    StepStale: "超时请求应被拒绝", "a stale call is refused";

    // Alarms: what is wrong, and what to do.
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_is_written_in_both_languages() {
        let chinese = |text: &str| text.chars().any(|c| ('\u{4e00}'..='\u{9fff}').contains(&c));
        for text in Text::ALL {
            let (zh, en) = (text.in_lang(Lang::Zh), text.in_lang(Lang::En));
            let a_sign = matches!(text, Text::Nothing | Text::Colon);
            assert!(chinese(zh) || a_sign, "{text:?} is not in Chinese: {zh}");
            assert!(!chinese(en) && !en.is_empty(), "{text:?} is not in English: {en}");
            assert_eq!(zh.ends_with('。'), en.ends_with('.') && *text != Text::Number, "{text:?}");
        }
    }

    #[test]
    fn the_best_language_that_is_accepted_is_spoken() {
        for (header, lang) in [
            ("", Lang::En),
            ("zh-CN,zh;q=0.9,en;q=0.8", Lang::Zh),
            ("en-GB,en;q=0.9,zh;q=0.8", Lang::En),
            ("fr,zh-TW;q=0.5", Lang::Zh),
            ("en;q=0.2, zh;q=0.7", Lang::Zh),
            ("de", Lang::En),
        ] {
            assert_eq!(Lang::accepted(header), lang, "{header}");
        }
    }
}
